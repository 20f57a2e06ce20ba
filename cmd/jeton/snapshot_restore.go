package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jeton/cluster"
	"jeton/fsm"
	"jeton/node"
	"jeton/node/backup"
)

func newSnapshotRestoreCommand(environ []string) *cobra.Command {
	var whom whomToAsk
	var how restoring
	var yes bool
	cmd := &cobra.Command{
		Use:   "restore FILE --config FILE",
		Short: "Restore the state of the cluster from a file",
		Long: strings.TrimSpace(`
Puts the users and roles of a snapshot file in the place of the cluster's own, while
the cluster works. The file is verified to the last byte before anything is changed.
It asks before it acts, unless --yes is given.

Every session ends: since the snapshot was saved, tokens have been invalidated and
used that must not come back, and the cluster forgets them with the rest. So every
token is refused from then on, and users log in again. Passwords are those of the
snapshot, that of elastic too.

--keep-sessions lets the sessions of the snapshot live on, but for the tokens that the
cluster knows to be invalidated or used; sessions that began later end all the
same. It is refused if the cluster was restored or recovered since the snapshot was
saved: then it does not know them.

A snapshot of another cluster is refused, unless --from-cluster gives its ID (not its
name), as inspect prints it: to replace a cluster that was lost by a new one with the same
cluster key. What became of its sessions after it was saved nobody knows: think
twice before you add --keep-sessions.

If the leader is lost meanwhile, it goes on with the next. To repeat the command is
always safe. If FILE is -, standard input is read, and --yes is needed.

Exit code 0: it is restored; 1: it is not, or that is not known; 2: the command line is
wrong, or there is no terminal to ask at and no --yes, and nothing was changed.`),
		Example: strings.Trim(`
  jeton snapshot restore backup.jeton --config /etc/jeton/jeton.yml
  jeton snapshot restore backup.jeton --config jeton.yml --keep-sessions --yes
  jeton snapshot restore backup.jeton --config jeton.yml --from-cluster 5b3c0f9d2a7e41868c1d0e9f7a6b5c4d`, "\n"),
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, _, release := interruptible(cmd.Context())
			defer release()
			client, loaded, err := whom.open(environ)
			if err != nil {
				return err
			}
			defer func() { _ = client.close() }() // nothing is under way
			if how.key, err = loadKey(loaded.Token.KeyPath); err != nil {
				return err
			}
			how.passwordFile = filepath.Join(loaded.DataPath, node.PasswordFile)
			how.stdin, how.errOut = cmd.InOrStdin(), cmd.ErrOrStderr()
			how.confirm = func(question string) error { return confirmed(cmd, yes, question) }
			return how.restore(ctx, client, args[0], cmd.OutOrStdout())
		},
	}
	whom.addFlags(cmd)
	cmd.Flags().BoolVar(&how.keepSessions, "keep-sessions", false, "let the sessions of the snapshot live on, as far as it is not known that they ended")
	cmd.Flags().StringVar(&how.from, "from-cluster", "", "restore the snapshot of another cluster, the one with this `ID` (not its name; inspect prints both)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// restoring says what is to be restored.
type restoring struct {
	keepSessions bool
	from         string
	passwordFile string // of a password that was made for elastic, on this machine
	key          backup.Key
	stdin        io.Reader
	errOut       io.Writer
	confirm      func(question string) error
}

// restore restores a file.
func (r *restoring) restore(ctx context.Context, client *peerClient, path string, out io.Writer) error {
	state, header, err := r.load(path)
	switch {
	case errors.Is(err, backup.ErrOtherKey):
		return fmt.Errorf("%w. Only a cluster with that key can restore it (docs/backup.md, \"A new cluster in place of a lost one\")", err)
	case err != nil:
		return err
	}
	leader, status, err := client.leaderStatus(ctx)
	if err != nil {
		return err
	}
	if err := r.check(header, status); err != nil {
		return err
	}
	r.explain(out, header, status)
	if err := r.confirm("Restore?"); err != nil {
		return err
	}
	progress := newProgress(r.errOut, "brought")
	commands := &proposals{client: client, leader: leader}
	err = backup.Restore(ctx, state, backup.Restoring{
		Propose: commands.propose, From: header.ClusterID, Epoch: status.Epoch, KeepSessions: r.keepSessions, Progress: progress.set,
	})
	progress.done()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Restored. The recovery epoch is %d now.\n", status.Epoch+1)
	if allExist(r.passwordFile) {
		fmt.Fprintf(out, "The password in %s may no longer be that of elastic.\n", r.passwordFile)
	}
	return nil
}

func (r *restoring) load(path string) (*fsm.FSM, backup.Header, error) {
	file, size, err := openSnapshot(path, r.stdin)
	if err != nil {
		return nil, backup.Header{}, err
	}
	defer func() { _ = file.Close() }() // it was only read
	progress := newProgress(r.errOut, "read")
	defer progress.done()
	state, header, err := backup.Load(progress.reader(file, size), r.key)
	if err != nil {
		return nil, header, fmt.Errorf("%s: %w", streamName(path, "standard input"), err)
	}
	return state, header, nil
}

// check says, before anything is brought, what would be refused in the end.
func (r *restoring) check(header backup.Header, leader cluster.Status) error {
	own := backup.ID(leader.ClusterID)
	switch {
	case own == backup.ID{}:
		return errors.New("the cluster is not initialized yet: wait until its nodes are ready")
	case header.KeyCheck != backup.Fingerprint(leader.KeyCheck):
		return errors.New("the cluster has another cluster key than this machine's settings name (xpack.security.authc.token.key_path)")
	case r.from == "" && header.ClusterID != own:
		return fmt.Errorf("the snapshot is of another cluster: %q, ID %s; this one is %q, ID %s. If it is to be restored here all the same, add --from-cluster %s",
			header.ClusterName, header.ClusterID, leader.ClusterName, own, header.ClusterID)
	case r.from != "" && r.from != header.ClusterID.String():
		return fmt.Errorf("--from-cluster %s: the snapshot is of the cluster with the ID %s (named %q); it is the ID that this flag wants", r.from, header.ClusterID, header.ClusterName)
	}
	return nil
}

// explain says what will happen.
func (r *restoring) explain(out io.Writer, header backup.Header, leader cluster.Status) {
	fmt.Fprintf(out, "The snapshot is of the cluster %q (ID %s), saved at %s; its last write is of %s, index %d, recovery epoch %d.\n",
		header.ClusterName, header.ClusterID, header.SavedAt.Format(time.RFC3339), header.LastWrite.Format(time.RFC3339), header.Index, header.Epoch)
	fmt.Fprintf(out, "Its %s and %s take the place of all that the cluster %q has; passwords are those of then, that of elastic too.\n",
		plural(header.Counts.Users, "user"), plural(header.Counts.Roles, "role"), leader.ClusterName)
	switch {
	case !r.keepSessions:
		fmt.Fprintln(out, "Every session ends: all tokens are refused, those in the snapshot and those issued since.")
	case header.ClusterID != backup.ID(leader.ClusterID):
		fmt.Fprintln(out, "WARNING: its sessions live on. Tokens that were invalidated or used in that cluster after the snapshot\n"+
			"was saved ARE VALID AGAIN: this cluster cannot know them.")
	default:
		fmt.Fprintln(out, "WARNING: its sessions live on, but for the tokens that the cluster knows to be invalidated or used;\n"+
			"those that were issued since end. Refresh tokens whose successor was issued since are worth nothing.")
	}
}
