package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jeton/scripts/lab/build"
)

// plantedOptions are the flags of `lab planted`.
type plantedOptions struct {
	options
	runs  int
	clean int
	quick bool
	table string
}

const (
	// plantedRuns is within how many runs a defect must be caught.
	plantedRuns = 20
	// cleanRuns is how often a trap is sprung on the program as it is, before it is believed.
	cleanRuns = 3
	// trapAttempts is how often a trap that could not be laid is tried again.
	trapAttempts = 3
	// trapTimeout is the nodes' raft.heartbeat_timeout and raft.election_timeout: traps are timed by them.
	trapTimeout = "1s"
	// runPatience bounds one run.
	runPatience = 3 * time.Minute
)

func newPlantedCommand() *cobra.Command {
	o := &plantedOptions{}
	cmd := &cobra.Command{
		Use:   "planted [NAME...]",
		Short: "Show that planted defects are caught",
		Long: strings.TrimSpace(`
Builds the program once for each planted defect, a plausible shortcut, and puts it into the
situation in which that matters, until something is found wrong; before that the program as
it is, in which nothing may be found. Writes down what was caught, and when. Fails if
anything was not.`),
		RunE: func(cmd *cobra.Command, names []string) error {
			chosen, err := o.choose(names)
			if err != nil {
				return err
			}
			if err := o.enter(cmd.Context()); err != nil {
				return err
			}
			return o.run(cmd.Context(), chosen, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.Uint64Var(&o.seed, "seed", 0, "what chance starts from (0: any)")
	flags.StringVarP(&o.out, "out", "o", "", "folder for logs and files (default: a new one in the folder for temporary files)")
	flags.IntVar(&o.runs, "runs", plantedRuns, "within how many runs a defect must be caught")
	flags.IntVar(&o.clean, "clean", cleanRuns, "how often each situation is tried with the program as it is")
	flags.BoolVar(&o.quick, "quick", false, "only what takes seconds; nothing is written down")
	flags.StringVar(&o.table, "table", "docs/negative-controls.md", "where it is written down")
	o.nodes, o.readMode, o.logLevel = 3, "lease", "info"
	return cmd
}

// bait is a defect and the trap for it.
type bait struct {
	defect build.Defect
	trap   trap
}

// choose returns the defects of those names, all of them for none.
func (o *plantedOptions) choose(names []string) (chosen []bait, err error) {
	planted := build.Planted()
	for _, name := range names {
		if !slices.ContainsFunc(planted, func(d build.Defect) bool { return d.Name == name }) {
			return nil, fmt.Errorf("there is no planted defect %s", name)
		}
	}
	for _, defect := range planted {
		if len(names) > 0 && !slices.Contains(names, defect.Name) {
			continue
		}
		t, err := trapFor(defect.Name)
		if err != nil {
			return nil, err
		}
		if !o.quick || !t.slow {
			chosen = append(chosen, bait{defect, t})
		}
	}
	return chosen, nil
}

// trapFor returns the trap for a planted defect.
func trapFor(defect string) (t trap, err error) {
	all := traps()
	at := slices.IndexFunc(all, func(t trap) bool { return slices.Contains(t.catches, defect) })
	if at < 0 {
		return t, fmt.Errorf("there is no trap for the planted defect %s", defect)
	}
	return all[at], nil
}

// run springs the traps, first on the program as it is.
func (o *plantedOptions) run(ctx context.Context, chosen []bait, stdout io.Writer) error {
	fmt.Fprintf(stdout, "seed %d; logs: %s\n", o.seed, o.out)
	var tried []string
	wrong := false
	for _, b := range chosen {
		if slices.Contains(tried, b.trap.name) {
			continue
		}
		tried = append(tried, b.trap.name)
		wrong = !o.tryClean(ctx, b.trap, stdout) || wrong
	}
	var caught []capture
	for _, b := range chosen {
		c, err := o.tryDefect(ctx, b, stdout)
		if err != nil {
			return err
		}
		caught = append(caught, c)
		wrong = wrong || c.check == ""
	}
	if !o.quick {
		if err := writeCaptures(o.table, caught); err != nil {
			return err
		}
	}
	if wrong {
		return errViolation
	}
	fmt.Fprintf(stdout, "good: %d planted defects were caught\n", len(caught))
	return nil
}

// tryClean springs a trap on the program as it is.
func (o *plantedOptions) tryClean(ctx context.Context, t trap, stdout io.Writer) (good bool) {
	for laid, attempts := 0, 1; laid < o.clean; attempts++ {
		broken, err := o.spring(ctx, o.binary, t, filepath.Join("clean", fmt.Sprintf("%s-%d", t.name, attempts)))
		if len(broken) > 0 {
			fmt.Fprintf(stdout, "%-24s WRONG without any planted defect: %s\n", t.name, broken[0].What)
			return false
		}
		if err == nil {
			laid++
		} else if attempts >= laid+trapAttempts || ctx.Err() != nil {
			fmt.Fprintf(stdout, "%-24s WRONG: this trap cannot be laid: %v\n", t.name, err)
			return false
		}
	}
	fmt.Fprintf(stdout, "%-24s nothing is wrong with the program as it is, %d times\n", t.name, o.clean)
	return true
}

// capture is a defect that was caught, or not.
type capture struct {
	bait
	check string // what was found wrong; empty: nothing
	runs  int
	at    time.Time
}

// tryDefect springs the trap on the program with the defect until it is caught.
func (o *plantedOptions) tryDefect(ctx context.Context, b bait, stdout io.Writer) (c capture, err error) {
	binary := filepath.Join(o.out, "jeton-"+b.defect.Name)
	if err := build.Jeton(ctx, binary, build.Options{Planted: b.defect.Name}); err != nil {
		return c, err
	}
	c = capture{bait: b, at: time.Now()}
	var trouble error
	for c.runs < o.runs && c.check == "" && ctx.Err() == nil {
		c.runs++
		broken, err := o.spring(ctx, binary, b.trap, filepath.Join(b.defect.Name, strconv.Itoa(c.runs)))
		if len(broken) > 0 {
			c.check = broken[0].What
		} else if err != nil {
			trouble = err
		}
	}
	took := rounded(time.Since(c.at))
	switch {
	case c.check != "":
		fmt.Fprintf(stdout, "%-24s caught in run %d, after %s: %s\n", b.defect.Name, c.runs, took, c.check)
	case trouble != nil:
		fmt.Fprintf(stdout, "%-24s NOT CAUGHT in %d runs, %s; at times the trap %s could not be laid: %v\n", b.defect.Name, c.runs, took, b.trap.name, trouble)
	default:
		fmt.Fprintf(stdout, "%-24s NOT CAUGHT in %d runs, %s\n", b.defect.Name, c.runs, took)
	}
	return c, ctx.Err() //nolint:wrapcheck // the run was ended
}

// spring lays a trap and springs it once.
func (o *plantedOptions) spring(ctx context.Context, binary string, t trap, folder string) (broken []violation, err error) {
	ctx, cancel := context.WithTimeout(ctx, runPatience)
	defer cancel()
	random := rand.New(rand.NewPCG(o.seed, uint64(crc32.ChecksumIEEE([]byte(folder))))) //nolint:gosec // a seed repeats a run
	s := o.setup()
	s.out, s.binary, s.seed = filepath.Join(o.out, "logs", folder), binary, random.Uint64()
	s.settings["raft.heartbeat_timeout"], s.settings["raft.election_timeout"] = trapTimeout, trapTimeout
	maps.Copy(s.settings, t.settings)
	told, err := createIn(s.out, "journal.log")
	if err != nil {
		return nil, err
	}
	defer func() { _ = told.Close() }() // for people only
	j := newJournal(told, true)
	if t.damages {
		j.begin(&fault{name: t.name, exits: true})
	}
	c, err := newCluster(ctx, s, j)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if err := c.start(ctx); err != nil {
		return j.broken(), err
	}
	roots, err := c.roots()
	if err != nil {
		return nil, err
	}
	err = t.spring(ctx, &stage{cluster: c, rand: random, patient: newClient(roots, c.password, stagePatience)})
	return j.broken(), err
}

func createIn(folder, name string) (*os.File, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err //nolint:wrapcheck // names the folder
	}
	return os.Create(filepath.Join(folder, name)) //nolint:wrapcheck // names the file
}
