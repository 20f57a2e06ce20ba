package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"jeton/fsm"
	"jeton/node/backup"
	"jeton/node/realm"
)

const (
	// initializeInterval paces the first steps of a new cluster, which waits for them.
	initializeInterval = 50 * time.Millisecond
	// choreTimeout bounds one duty.
	choreTimeout = 30 * time.Second
	// collectBatch is how many expired pairs one command removes: enough to keep
	// up, and short enough not to hold up the commands behind it.
	collectBatch = 4096
	// filesInterval is how often the files of certificates and users are looked at.
	filesInterval = 5 * time.Second
	// forgetInterval is how often verified passwords are looked through for those whose
	// time is over.
	forgetInterval = time.Minute
	// expiryWarning is how long before its end a certificate is complained about.
	expiryWarning = 30 * 24 * time.Hour
)

// every runs a duty now and then until ctx ends. A duty that fails is logged and
// tried again.
func (n *Node) every(ctx context.Context, interval time.Duration, name string, duty func(context.Context) error) {
	n.background.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			attempt, cancel := context.WithTimeout(ctx, choreTimeout)
			err := duty(attempt)
			cancel()
			if err != nil && ctx.Err() == nil {
				n.log.Warn("a standing duty failed and will be tried again", "duty", name, "error", err)
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

// startChores begins the standing duties of this node.
func (n *Node) startChores(ctx context.Context) {
	n.background.Go(func() { n.keepInitializing(ctx) })
	n.every(ctx, n.config.Token.DeleteInterval, "collect expired tokens", n.collectExpired)
	n.background.Go(func() { n.keepSnapshots(ctx) })
	n.every(ctx, transferCheckInterval, "look whether a leader may write", n.checkFailedTransfer)
	n.every(ctx, surveyInterval, "compare clocks", n.compareClocks)
	n.every(ctx, filesInterval, "reload certificates", func(context.Context) error { return n.ReloadCertificates() })
	n.every(ctx, filesInterval, "reload the file realm", n.reloadFileRealm)
	n.every(ctx, forgetInterval, "forget verified passwords", func(context.Context) error {
		n.realms.ForgetExpired()
		return nil
	})
}

// keepInitializing lasts until the cluster is initialized.
func (n *Node) keepInitializing(ctx context.Context) {
	for ctx.Err() == nil && !n.initialized.Load() {
		attempt, cancel := context.WithTimeout(ctx, choreTimeout)
		err := n.initializeCluster(attempt)
		cancel()
		if err != nil && ctx.Err() == nil {
			n.log.Warn("the cluster is not initialized yet", "error", err)
		}
		pause(ctx, initializeInterval)
	}
}

// initializeCluster is the first leader's duty: the cluster gets its id, and the
// user elastic its password. Every node checks that it has the cluster's key.
func (n *Node) initializeCluster(ctx context.Context) error {
	if !n.member.Load() {
		return nil
	}
	_, check, ok := n.replica.state.Cluster()
	if !ok {
		if !n.replica.leads() {
			return nil
		}
		return n.proposeInitialize(ctx)
	}
	if check != n.keyCheck {
		n.fail(errors.New("this node's cluster key is not the cluster's: refreshed tokens would differ from node to node. Copy the file named by xpack.security.authc.token.key_path from another node and start again"))
		return nil
	}
	return n.ensureBootstrapPassword(ctx)
}

func (n *Node) proposeInitialize(ctx context.Context) error {
	c := fsm.Initialize{KeyCheck: n.keyCheck}
	_, _ = rand.Read(c.ClusterID[:]) // never fails
	if _, err := n.Propose(ctx, c); err != nil {
		return fmt.Errorf("give the cluster its identity: %w", err)
	}
	return nil
}

// ensureBootstrapPassword lets the leader set the password of elastic once. The
// others wait until it is there.
func (n *Node) ensureBootstrapPassword(ctx context.Context) error {
	if user, ok := n.replica.state.User(fsm.RealmReserved, "elastic"); ok && user.Verifier != "" {
		n.initialized.Store(true)
		return nil
	}
	if !n.replica.leads() {
		return nil
	}
	generated, set, err := n.users.EnsureBootstrapPassword(ctx, n.config.BootstrapPassword)
	// After an error the outcome is unknown: this may be the password that counts.
	if (set || err != nil) && !generated.IsZero() {
		n.tellPassword(generated)
	}
	if err != nil {
		return fmt.Errorf("set the password of elastic: %w", err)
	}
	return nil
}

// PasswordFile is where a generated password is left, in path.data, when nobody watches the start.
const PasswordFile = "elastic.password"

// tellPassword hands the generated password to the operator, once: on the
// terminal, or else in a file that only this user can read. Never in the log.
func (n *Node) tellPassword(password realm.Secret) {
	const howTo = "set your own with POST /_security/user/elastic/_password"
	if n.stdout != nil {
		_, _ = fmt.Fprintf(n.stdout, "\nPassword of the user elastic (printed this once; %s):\n  %s\n\n", howTo, password.Expose())
		return
	}
	path := n.dir.file(PasswordFile)
	if err := writeSynced(path, []byte(password.Expose()+"\n")); err != nil {
		n.log.Error("the generated password of elastic could not be handed over; set bootstrap.password and start with an empty cluster", "error", err)
		return
	}
	n.log.Warn("a password was generated for the user elastic; read it, delete the file, "+howTo, "file", path)
}

// collectExpired is the leader's duty to forget pairs that can no longer matter.
func (n *Node) collectExpired(ctx context.Context) error {
	for n.initialized.Load() && n.replica.leads() {
		outcome, err := n.Propose(ctx, fsm.CollectExpired{Limit: collectBatch})
		if err != nil {
			return fmt.Errorf("collect expired tokens: %w", err)
		}
		if outcome.Collected < collectBatch {
			return nil
		}
	}
	return nil
}

// keepSnapshots takes snapshots when they are due, one after the other, until ctx
// ends. A snapshot may take minutes, so it is not a duty with a time limit.
func (n *Node) keepSnapshots(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, n.config.Raft.SnapshotInterval)
		if ctx.Err() == nil && n.snapshotDue() {
			n.takeSnapshot(ctx)
		}
	}
}

// snapshotDue tells whether the log since the last snapshot is about as large as
// the state: so the cost of snapshots stays in proportion to that of the writes,
// however large the state is.
func (n *Node) snapshotDue() bool {
	_, stateBytes := n.replica.state.Size()
	threshold := max(n.config.Raft.SnapshotThreshold, int64(stateBytes))
	return n.replica.meter.logged.Load() >= uint64(threshold) //nolint:gosec // not negative
}

func (n *Node) takeSnapshot(ctx context.Context) {
	since, began := n.replica.meter.logged.Load(), time.Now()
	done := make(chan error, 1)
	go func() { done <- n.replica.raft.Snapshot().Error() }() // ends with raft at the latest
	select {
	case <-ctx.Done():
	case err := <-done:
		if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			n.log.Warn("no snapshot could be taken; it will be tried again, and the log grows meanwhile", "error", err)
			return
		}
		n.replica.meter.snapshotTaken(since)
		n.log.Info("snapshot taken", "log_bytes_since_last", since, "took", time.Since(began).Round(time.Millisecond))
	}
}

// compareClocks keeps the leader's idea of the cluster's time.
func (n *Node) compareClocks(context.Context) error {
	if _, fit := n.replica.inOffice(); fit {
		n.replica.setClock()
	}
	return nil
}

// ReloadCertificates looks whether the certificate files have changed, and uses
// the new ones for every connection from then on. After an error the old ones stay
// in use. It goes on by itself every few seconds.
func (n *Node) ReloadCertificates() error {
	var problems []error
	var reloaded []any // names and values
	var warnings []string
	for _, reloader := range n.certificates {
		changed, err := reloader.Poll()
		if err != nil {
			problems = append(problems, err)
		}
		if changed {
			name := "transport"
			if reloader == n.httpTLS {
				name = "http"
			}
			reloaded = append(reloaded, name, reloader.Summary())
			warnings = append(warnings, reloader.Warnings(expiryWarning)...)
		}
	}
	if len(reloaded) > 0 {
		// Pooled connections were authenticated by the old certificate.
		n.service.CloseStreams()
		n.client.CloseIdle()
		n.log.Info("certificates reloaded", reloaded...)
	}
	for _, warning := range warnings {
		n.log.Warn(warning)
	}
	return errors.Join(problems...)
}

func (n *Node) reloadFileRealm(context.Context) error {
	changed, err := n.realms.Reload()
	if err != nil {
		return fmt.Errorf("the file realm keeps its former users: %w", err)
	}
	if changed {
		n.log.Info("users of the file realm reloaded")
	}
	return nil
}

// keyCheckOf is a fingerprint of the cluster key that tells nothing about it.
func keyCheckOf(clusterKey []byte) ([32]byte, error) {
	key, err := backup.NewKey(clusterKey)
	return key.Check, err
}
