package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jeton/scripts/lab/build"
	"jeton/scripts/lab/network"
)

// What the outer process tells the inner one: it has built the program while it could still reach the network, made the
// folder, and drawn the seed.
const (
	variableBinary = "JETON_LAB_BINARY"
	variableOut    = "JETON_LAB_OUT"
	variableSeed   = "JETON_LAB_SEED"
)

// options are the flags that all laboratories have.
type options struct {
	seed     uint64
	nodes    int
	out      string
	readMode string
	logLevel string
	planted  string
	race     bool
	json     bool
	verbose  bool

	settings map[string]string // of every node, instead of the laboratory's usual ones
	binary   string
}

func (o *options) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Uint64Var(&o.seed, "seed", 0, "what chance starts from; the same seed makes the same faults in the same order (0: any)")
	flags.IntVar(&o.nodes, "nodes", 3, "how many nodes form the cluster")
	flags.StringVarP(&o.out, "out", "o", "", "folder for logs, files and the report (default: a new one in the folder for temporary files)")
	flags.StringVar(&o.readMode, "read-mode", "lease", "the nodes' read.mode: lease or quorum")
	flags.StringVar(&o.logLevel, "log-level", "info", "the nodes' log.level")
	flags.StringVar(&o.planted, "plant", "", "build the nodes with the planted defect `NAME` (see lab planted)")
	flags.BoolVar(&o.race, "race", false, "build the nodes with the race detector")
	flags.BoolVar(&o.json, "json", false, "print the outcome as JSON, and nothing else, on standard output")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "show everything that happens, not only faults")
}

func (o *options) check() error {
	if o.nodes < 1 || o.nodes > 9 {
		return fmt.Errorf("--nodes %d: want 1 to 9", o.nodes)
	}
	if o.readMode != "lease" && o.readMode != quorumReads {
		return fmt.Errorf("--read-mode %s: want lease or quorum", o.readMode)
	}
	return nil
}

// enter builds the program under test and goes on in namespaces of its own: it returns in the inner process, which has
// the flags of the outer one.
func (o *options) enter(ctx context.Context) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if o.binary = os.Getenv(variableBinary); o.binary == "" {
		if err := o.prepare(ctx); err != nil {
			return err
		}
	}
	if err := network.Enter(); err != nil {
		return err
	}
	o.out = os.Getenv(variableOut)
	o.seed, err = strconv.ParseUint(os.Getenv(variableSeed), 10, 64)
	if err != nil {
		return fmt.Errorf("read the seed: %w", err)
	}
	return nil
}

// prepare does what needs the machine as it is.
func (o *options) prepare(ctx context.Context) (err error) {
	for o.seed == 0 {
		var drawn [8]byte
		_, _ = rand.Read(drawn[:]) // never fails
		o.seed = binary.LittleEndian.Uint64(drawn[:]) >> 40
	}
	if o.out == "" {
		o.out, err = os.MkdirTemp("", "jeton-lab-")
	} else if o.out, err = filepath.Abs(o.out); err == nil {
		err = o.emptyOut()
	}
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	o.binary = filepath.Join(o.out, "jeton")
	if err := build.Jeton(ctx, o.binary, build.Options{Planted: o.planted, Race: o.race}); err != nil {
		return err
	}
	return errors.Join(
		os.Setenv(variableBinary, o.binary), os.Setenv(variableOut, o.out),
		os.Setenv(variableSeed, strconv.FormatUint(o.seed, 10)),
	)
}

// emptyOut makes the folder, and removes what a former run left in it, so that a run of it alone is in the report.
func (o *options) emptyOut() error {
	const mark = "logs"
	entries, err := os.ReadDir(o.out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err //nolint:wrapcheck // names the folder
	}
	if len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(o.out, mark)); err != nil {
			return fmt.Errorf("%s holds something else than a laboratory", o.out)
		}
		if err := os.RemoveAll(o.out); err != nil {
			return err //nolint:wrapcheck // names the folder
		}
	}
	return os.MkdirAll(filepath.Join(o.out, mark), 0o700) //nolint:wrapcheck // names the folder
}

// setup is the cluster that the options ask for.
func (o *options) setup() setup {
	settings := baseSettings(o.readMode, o.logLevel)
	maps.Copy(settings, o.settings)
	return setup{out: o.out, binary: o.binary, seed: o.seed, nodes: o.nodes, settings: settings}
}

// again is the command that repeats a run, but for the flags in more.
func (o *options) again(command string, more ...string) string {
	args := append([]string{"go run ./scripts/lab", command}, more...)
	args = append(args, fmt.Sprintf("--seed %d --nodes %d --read-mode %s", o.seed, o.nodes, o.readMode))
	if o.planted != "" {
		args = append(args, "--plant "+o.planted)
	}
	if o.race {
		args = append(args, "--race")
	}
	return strings.Join(args, " ")
}

// rounded is a duration for people.
func rounded(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(100 * time.Microsecond).String()
	}
}
