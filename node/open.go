package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"jeton/cluster"
	"jeton/fsm"
	"jeton/httpapi"
	"jeton/node/backup"
	"jeton/node/config"
	"jeton/node/realm"
	"jeton/node/token"
)

// openRaft starts the service for peers and raft on top of it.
func (n *Node) openRaft(ctx context.Context, stores *stores, listener net.Listener) error {
	r := newReplica(n.dir.identity.ServerID, n.addresses, n.log, n.fail)
	if n.wallTime != nil {
		r.clock = newClusterClock(n.wallTime, bootTime, r.clock.logged)
	}
	n.replica = r
	n.names.heard([]cluster.Status{{ServerID: r.id, Name: n.config.NodeName}})
	hasData, err := stores.hold()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	n.doorman = &doorman{peerHandler: peerHandler{n}, hasData: hasData}
	if err := n.openService(listener); err != nil { //nolint:contextcheck // the service lasts until its Close
		return err
	}
	transport, err := cluster.NewTransport(cluster.TransportConfig{
		Stream:    n.service.StreamLayer(),
		AddressOf: n.addresses.addressOf,
		Incoming:  stores.joint.mend,
		Outgrown:  stores.joint.outgrown,
		Appended:  r.coverage.appended,
		Logger:    n.log.Named("raft-transport"),
	})
	if err != nil {
		return fmt.Errorf("start raft's transport: %w", err)
	}
	n.onClose("raft transport", transport.Close)
	r.learnCommit = transport.LearnCommit
	r.vigil.stand, r.vigil.turn = transport.StandForElection, n.config.Raft.ElectionTimeout/vigilTurns
	r.vigil.dial = dialPort
	if n.config.Read.Mode == config.ReadLease {
		if err := r.useLease(n.config.Read.Lease, bootTime, stores.stable); err != nil {
			return err
		}
	}

	rc := raftConfig(n.config, r.id, n.log, r.notify)
	recovered, err := n.recoverQuorum(ctx, stores, rc, transport)
	if err != nil {
		return err
	}
	if err := r.start(rc, stores, transport); err != nil { //nolint:contextcheck // raft lasts until its Shutdown
		return err
	}
	n.doorman.read.Store(true)
	n.onClose("raft", func() error { return r.raft.Shutdown().Error() })
	n.onClose("leadership watch", func() error { r.close(); return nil })
	n.membership = cluster.NewMembership(r.raft)
	if recovered {
		if err := n.putAside(); err != nil {
			return err
		}
	}
	return n.reunite(ctx, hasData)
}

// openService serves peers, and prepares to ask them. It is served before raft has started:
// who might be recovered elsewhere, alone, must learn that this node lives.
func (n *Node) openService(listener net.Listener) error {
	service, err := cluster.NewService(cluster.ServiceConfig{
		Listener:    listener,
		ClusterName: n.config.ClusterName,
		ServerID:    n.replica.id,
		Advertise:   n.config.Transport.PublishAddress(),
		ServerTLS:   n.transportTLS.TransportServer(),
		ClientTLS:   n.peerTLS,
		Handler:     n.doorman,
		Lineage:     n.descent.told,
		Heard:       n.descent.heard,
		Foreign:     n.metForeign,
		Ended:       n.replica.peerEnded,
		Now:         time.Now,
		Logger:      n.log.Named("cluster"),
	})
	if err != nil {
		return errors.Join(fmt.Errorf("start the service for peers: %w", err), listener.Close())
	}
	n.service = service
	n.replica.nameOf = service.NameOf
	n.onClose("service for peers", func() error {
		err := service.Close()
		n.serving.Wait() // here, where the last of the listeners is closed
		return err
	})
	n.client, err = cluster.NewClient(cluster.ClientConfig{
		ClusterName: n.config.ClusterName,
		TLS:         n.peerTLS,
		Lineage:     n.descent.told,
		Now:         time.Now,
		Logger:      n.log.Named("cluster"),
	})
	if err != nil {
		return fmt.Errorf("prepare connections to peers: %w", err)
	}
	n.onClose("connections to peers", n.client.Close)
	n.replica.peers = n.client
	n.serving.Go(func() {
		if err := service.Serve(); err != nil && !errors.Is(err, cluster.ErrClosed) {
			n.fail(fmt.Errorf("serve peers: %w", err))
		}
	})
	return nil
}

// peerTLS is what this node shows to a peer that it dials.
func (n *Node) peerTLS() *tls.Config { return n.transportTLS.TransportClient() }

// openServices assembles the use cases on top of the log.
func (n *Node) openServices(context.Context) error {
	n.proposer = n.replica.newProposer()
	n.onClose("proposer", func() error { n.proposer.close(); return nil })
	n.revoker = n.replica.newProposer()
	n.onClose("proposer of revocations", func() error { n.revoker.close(); return nil })
	n.confirmer = &confirmer{electorate: n.replica}
	n.onClose("confirmed reads", func() error { n.confirmer.close(); return nil })

	n.backups = backup.NewServer(n.replica.state, n.confirmer.ConfirmRead, backup.Header{
		ClusterName: n.config.ClusterName, NodeName: n.config.NodeName, Version: n.version,
	})
	n.onClose("snapshots that are saved", n.backups.Close)

	hasher, err := realm.NewHasher(n.config.PasswordHashing)
	if err != nil {
		return fmt.Errorf("password hashing: %w", err)
	}
	chain := realm.ChainConfig{View: n.replica.state, Hasher: hasher, Now: wallTime}
	if n.config.FileRealm.Enabled {
		chain.UsersFile, chain.UsersRolesFile = n.config.FileRealm.Users, n.config.FileRealm.UsersRoles
	}
	if n.realms, err = realm.NewChain(chain); err != nil {
		return fmt.Errorf("open the realms: %w", err)
	}
	n.users = realm.NewUsers(n, n.replica.state, hasher)
	n.tokens, err = token.New(token.Config{
		Log:               n,
		View:              n.replica.state,
		Realms:            n.realms,
		Confirm:           n.confirmer.ConfirmRead,
		KnowsRevocations:  n.replica.knowsRevocations,
		Now:               n.replica.clock.Now,
		Enabled:           n.config.Token.Enabled,
		ClusterKey:        n.clusterKey,
		AccessLifetime:    n.config.Token.AccessLifetime,
		RefreshLifetime:   n.config.Token.RefreshLifetime,
		SessionLifetime:   n.config.Token.SessionLifetime,
		RefreshWindow:     n.config.Token.RefreshWindow,
		KeepFamilyOnReuse: !n.config.Token.ReuseDetection,
	})
	if err != nil {
		return fmt.Errorf("open the token service: %w", err)
	}
	return nil
}

// openHTTP starts to serve clients. Until this node is ready it answers 503.
func (n *Node) openHTTP(ctx context.Context) error {
	api, err := httpapi.New(httpapi.Config{
		Tokens:          n.tokens,
		Authenticator:   n.tokens,
		Users:           n.users,
		Roles:           realm.NewRoles(n, n.replica.state),
		Cluster:         n,
		TokensEnabled:   n.config.Token.Enabled,
		ForgetPasswords: n.realms.Forget,
		RequestTimeout:  n.config.RequestTimeout,
		Limits:          httpapi.Limits{BodyBytes: n.config.HTTP.MaxContentLength},
		OAuth2:          httpapi.OAuth2{Issuer: n.config.OAuth2.Issuer, PublicClients: n.config.OAuth2.PublicClients},
		Now:             time.Now,
		Logger:          n.log.Named("http"),
		Version:         n.version,
	})
	if err != nil {
		return fmt.Errorf("assemble the HTTP API: %w", err)
	}
	listener, err := listenForClients(ctx, n.config.HTTP.BindAddress())
	if err != nil {
		return err
	}
	complaints := n.log.Named("http").StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})
	server := httpapi.HTTPServer(api.Handler(), n.config.RequestTimeout, complaints)
	if n.httpTLS != nil {
		server.TLSConfig = n.httpTLS.HTTPServer()
	}
	n.front = newFront(server, listener)
	n.onClose("HTTP", server.Close)
	n.serving.Go(func() {
		if err := n.front.serve(); err != nil {
			n.fail(err)
		}
	})
	n.log.Info("listening", "http", listener.Addr(), "tls", n.httpTLS != nil, "transport", n.config.Transport.BindAddress())
	return nil
}

// openBackground starts what goes on by itself.
func (n *Node) openBackground(ctx context.Context) error {
	// The duties last until Close, not until Open's caller loses patience.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.onClose("background duties", func() error {
		cancel()
		n.background.Wait()
		return nil
	})
	n.doorman.open.Store(true)
	n.mirror = n.askOwnAddress
	n.background.Go(func() { n.keepMembership(ctx) })
	n.background.Go(func() { n.keepAlone(ctx) })
	n.background.Go(func() { n.keepAutopilot(ctx) })
	n.background.Go(func() { n.watchReadiness(ctx) })
	if n.replica.lease != nil {
		n.background.Go(func() { n.replica.lease.keep(ctx) })
	}
	n.startChores(ctx)
	return nil
}

// Propose has the state machine apply a command; see [proposer.Propose].
func (n *Node) Propose(ctx context.Context, c fsm.Command) (fsm.Outcome, error) {
	if n.replica.waitsForReaders(c) {
		return n.revoker.Propose(ctx, c)
	}
	return n.proposer.Propose(ctx, c)
}
