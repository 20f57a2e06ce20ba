package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"jeton/node/backup"
	"jeton/node/certs"
)

// exitNotVerified is how inspect says that it had no key to verify the file with.
const exitNotVerified = 3

func newSnapshotCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "snapshot", Short: "Save the state of a cluster to a file, and restore it",
		Long: strings.TrimSpace(`
Saves users, roles and tokens of a running cluster to one file, shows what such a
file holds, and restores it. A file holds digests and verifiers, no token and no
password, and is sealed under the cluster key, so that nobody else can change it.`),
		Args: unknownCommand, SuggestionsMinimumDistance: 2,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSnapshotSaveCommand(environ), newSnapshotInspectCommand(environ), newSnapshotRestoreCommand(environ))
	return cmd
}

// oneFile accepts one argument, a file.
func oneFile(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageErrorf("want the name of one file")
	}
	return nil
}

func newSnapshotSaveCommand(environ []string) *cobra.Command {
	var whom whomToAsk
	var how saving
	var format string
	cmd := &cobra.Command{
		Use:   "save FILE --config FILE",
		Short: "Save the state of the cluster to a file",
		Long: strings.TrimSpace(`
Saves the state of the cluster while it works: all that was acknowledged before the
command began is in it. It is asked of the leader, or of the node that --node names.

FILE appears under its name when it is complete; its mode is 0600. What it holds
and the SHA-256 of that are printed; the latter is the same for all nodes that
have applied the same entries. If FILE is -, the snapshot goes to standard output, and
what it holds is printed to standard error; only exit code 0 says that it is whole.

--config is the configuration of any node on this machine: its transport certificate
opens the port between the nodes, and its cluster key seals the file.

Exit code 0: it is saved; 1: it is not, and nothing was left behind.`),
		Example: strings.Trim(`
  jeton snapshot save backup-$(date +%F).jeton --config /etc/jeton/jeton.yml
  jeton snapshot save b.jeton --config jeton.yml --node b --stale
  jeton snapshot save - --config jeton.yml | aws s3 cp - s3://bucket/b.jeton`, "\n"),
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := outputFormat(format); err != nil {
				return err
			}
			how.stdout = cmd.OutOrStdout()
			if err := how.check(args[0], cmd.Flags().Changed("node")); err != nil {
				return err
			}
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
			how.progress = newProgress(cmd.ErrOrStderr(), "saved")
			found, err := how.save(ctx, client, args[0])
			if err != nil {
				return err
			}
			if args[0] == standardStream {
				return found.print(cmd.ErrOrStderr(), format)
			}
			return found.print(cmd.OutOrStdout(), format)
		},
	}
	whom.addFlags(cmd)
	cmd.Flags().StringVar(&how.node, "node", "", "take the state of the node with this `NAME`, ID or HOST:PORT (its transport port), not the leader's")
	cmd.Flags().BoolVar(&how.stale, "stale", false, "take that node's state as it is, though it may lack what was acknowledged; needs no quorum")
	cmd.Flags().BoolVar(&how.force, "force", false, "replace FILE if it exists")
	cmd.Flags().StringVar(&format, "format", formatText, "output: text or json")
	return cmd
}

func newSnapshotInspectCommand(environ []string) *cobra.Command {
	var source settingsSource
	var keyFile, format string
	cmd := &cobra.Command{
		Use:   "inspect FILE [--config FILE | --key FILE]",
		Short: "Show what a snapshot file holds, and verify it",
		Long: strings.TrimSpace(`
Reads a whole snapshot file, verifies it with the cluster key, and prints what it
holds. The key is that of a node's configuration (--config), or in a file (--key).
Without it the file is printed as it presents itself: whether somebody changed it
cannot be told. If FILE is -, standard input is read.

Exit code 0: the file is what was saved; 1: it is not, or cannot be read; 3: it is
printed, but was not verified.`),
		Example: strings.Trim(`
  jeton snapshot inspect backup.jeton --config /etc/jeton/jeton.yml
  jeton snapshot inspect backup.jeton --key cluster.key --format json`, "\n"),
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := outputFormat(format); err != nil {
				return err
			}
			path, err := keyPath(source, keyFile, environ)
			if err != nil {
				return err
			}
			var key backup.Key
			if path != "" {
				if key, err = loadKey(path); err != nil {
					return err
				}
			}
			found, err := inspect(args[0], cmd.InOrStdin(), key, newProgress(cmd.ErrOrStderr(), "read"))
			if err != nil {
				return err
			}
			if err := found.print(cmd.OutOrStdout(), format); err != nil {
				return err
			}
			if !found.Verified {
				fmt.Fprintln(cmd.ErrOrStderr(), "jeton: not verified: without the cluster key (--config or --key) nobody can tell whether this file was changed")
				return &exitError{code: exitNotVerified}
			}
			return nil
		},
	}
	source.addFlags(cmd)
	cmd.Flags().StringVar(&keyFile, "key", "", "the cluster key: the `FILE` that xpack.security.authc.token.key_path names")
	cmd.Flags().StringVar(&format, "format", formatText, "output: text or json")
	return cmd
}

// keyPath returns the file of the cluster key; empty: none was given.
func keyPath(source settingsSource, keyFile string, environ []string) (string, error) {
	switch {
	case source.file != "" && keyFile != "":
		return "", usageErrorf("--config and --key: give one of them")
	case source.file == "":
		return keyFile, nil
	}
	loaded, err := source.load(environ)
	if err != nil {
		return "", err
	}
	return loaded.Token.KeyPath, nil
}

func loadKey(path string) (backup.Key, error) {
	if path == "" {
		return backup.Key{}, usageErrorf("the settings name no cluster key (xpack.security.authc.token.key_path)")
	}
	secret, err := certs.LoadClusterKey(path)
	if err != nil {
		return backup.Key{}, err
	}
	return backup.NewKey(secret)
}

// snapshotView is a file as save and inspect show it.
type snapshotView struct {
	File string `json:"file"`
	backup.Header
	FileBytes  int64  `json:"file_bytes"`
	StateBytes uint64 `json:"state_bytes"`
	Digest     string `json:"digest"` // SHA-256 of the state's bytes
	Verified   bool   `json:"verified"`
}

// print prints a file as a table, or as one JSON object.
func (v *snapshotView) print(out io.Writer, format string) error {
	if format == formatJSON {
		return json.NewEncoder(out).Encode(v) //nolint:wrapcheck // says what could not be written
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	verified := "no"
	if v.Verified {
		verified = "yes, it is what was saved"
	}
	for _, row := range [][2]string{
		{"File", fmt.Sprintf("%s (%s)", v.File, mebibytes(v.FileBytes))},
		{"Verified", verified},
		{"Cluster", fmt.Sprintf("%s (ID %s)", v.ClusterName, v.ClusterID)},
		{"Saved at", v.SavedAt.Format(time.RFC3339)},
		{"Saved from", fmt.Sprintf("%s, jeton %s", v.NodeName, v.Version)},
		{"Last write", v.LastWrite.Format(time.RFC3339)},
		{"Index", strconv.FormatUint(v.Index, 10)},
		{"Recovery epoch", strconv.FormatUint(v.Epoch, 10)},
		{"Users", strconv.Itoa(v.Counts.Users)},
		{"Roles", strconv.Itoa(v.Counts.Roles)},
		{"Token pairs", strconv.Itoa(v.Counts.Pairs)},
		{"Identities", strconv.Itoa(v.Counts.Identities)},
		{"Operations", strconv.Itoa(v.Counts.Operations)},
		{"State", mebibytes(int64(v.StateBytes))}, //nolint:gosec // it is in a file
		{"SHA-256", v.Digest},
	} {
		fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
	}
	return table.Flush() //nolint:wrapcheck // says what could not be written
}

func mebibytes(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// inspect reads a whole file.
func inspect(path string, stdin io.Reader, key backup.Key, progress *progress) (*snapshotView, error) {
	file, size, err := openSnapshot(path, stdin)
	if err != nil {
		return nil, err
	}
	path = streamName(path, "standard input")
	defer func() { _ = file.Close() }() // it was only read
	r, err := backup.Open(progress.reader(file, size), key)
	if errors.Is(err, backup.ErrOtherKey) {
		return nil, fmt.Errorf("%s: %w; to verify it, give the key of that cluster (--key)", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	_, err = io.Copy(io.Discard, r)
	progress.done()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	found := &snapshotView{File: path, Header: r.Header(), FileBytes: progress.bytes, Verified: len(key.Secret) > 0}
	found.content(r.Content())
	return found, nil
}

func (v *snapshotView) content(size uint64, digest [32]byte) {
	v.StateBytes, v.Digest = size, hex.EncodeToString(digest[:])
}

// saving says what is to be saved.
type saving struct {
	node     string
	stale    bool
	force    bool
	key      backup.Key
	stdout   io.Writer // where a snapshot goes that is saved as -
	progress *progress
}

// check refuses what no cluster can make right.
func (s *saving) check(path string, nodeGiven bool) error {
	switch {
	case s.stale && !nodeGiven:
		return usageErrorf("--stale wants --node: whose state is to be taken as it is?")
	case path == standardStream && isTerminal(s.stdout):
		return usageErrorf("a snapshot is not for a terminal: send standard output to a pipe, or name a file")
	case nodeGiven:
		return namesOne([]string{s.node})
	}
	return nil
}

// save saves a node's state to a file.
func (s *saving) save(ctx context.Context, client *peerClient, path string) (*snapshotView, error) {
	if err := s.mayAppear(path); err != nil {
		return nil, err
	}
	address, err := client.source(ctx, s.node)
	if err != nil {
		return nil, err
	}
	file, err := s.create(path)
	if err != nil {
		return nil, err
	}
	defer file.discard()
	found := &snapshotView{File: streamName(path, "standard output"), Verified: true}
	var w *backup.Writer
	err = backup.Fetch(ctx, client.questions(address), s.stale, func(header backup.Header) (io.Writer, error) {
		if header.KeyCheck != s.key.Check {
			return nil, errors.New("the cluster has another cluster key than this machine's settings name (xpack.security.authc.token.key_path)")
		}
		header.SavedAt = time.Now().UTC().Truncate(time.Second)
		found.Header = header
		var err error
		w, err = backup.NewWriter(file, s.key, header)
		return s.progress.writer(w), err
	})
	s.progress.done()
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		found.content(w.Content())
		found.FileBytes, err = file.commit()
	}
	switch {
	case err == nil:
		return found, nil
	case path == standardStream:
		return nil, fmt.Errorf("what went to standard output is no whole snapshot, throw it away: %w", err)
	default:
		return nil, fmt.Errorf("%s was not saved, and nothing of it was left behind: %w", path, err)
	}
}
