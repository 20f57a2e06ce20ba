package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"jeton/scripts/lab/disk"
)

const (
	// slowSync is how long a sync takes at most while power is about to fail, so that it often fails in between.
	slowSync = 4 * time.Millisecond
	// verdictPatience is how long a node with damaged files may take until it is ready or has ended.
	verdictPatience = 30 * time.Second
	// replacedEvery is how many refusals end with what the node tells the operator to do; the others end with the
	// damage undone, which is sooner.
	replacedEvery = 10
	// snapshotsEvery is after how many rounds everybody has a new snapshot, which can be damaged then.
	snapshotsEvery = 20
)

func powerLossScenario() scenario {
	return scenario{
		name: "power-loss", what: "power loss of the leader, a follower, most and all nodes in turn, under load: is everything there that was acknowledged",
		rate: killRate, round: losePower,
	}
}

// losePower takes nodes their power while tokens are issued, and asks everybody about those that were acknowledged.
func losePower(ctx context.Context, r *rounds) error {
	victims := r.powerless()
	for _, n := range r.cluster.nodes {
		n.disk.Slow(0, time.Duration(r.rand.Int64N(int64(slowSync))))
		n.disk.Strict(r.rand.IntN(2) == 0)
	}
	issuing, stop := context.WithCancel(ctx)
	defer stop()
	issued := r.cluster.keepIssuing(issuing, 0)
	pause(ctx, 100*time.Millisecond+time.Duration(r.rand.IntN(200))*time.Millisecond)
	place := r.journal.begin(&fault{name: "power-loss"})
	releases := r.cluster.killEach(ctx, victims)
	var names []string
	for _, n := range victims {
		names = append(names, n.name)
		if !n.end(ctx, syscall.SIGKILL, killPatience) {
			return fmt.Errorf("%s cannot be killed", n.name)
		}
		if err := n.disk.PowerCut(); err != nil {
			return err
		}
	}
	r.journal.describe(place, "", strings.Join(names, ", "))
	stop()
	acknowledged := issued()
	for _, n := range r.cluster.nodes {
		n.disk.Slow(0, 0)
	}
	for _, release := range releases {
		release()
	}
	took, err := r.cluster.recover(ctx)
	r.journal.end(place)
	if err != nil {
		return err
	}
	r.figure("everybody is ready again, since the start", took)
	r.count(fmt.Sprintf("power losses of %d nodes", len(victims)))
	r.mu.Lock()
	r.counts["tokens acknowledged right before"] += len(acknowledged)
	r.mu.Unlock()
	var asking errgroup.Group
	for _, n := range r.cluster.nodes {
		asking.Go(func() error { return r.mustKnow(ctx, n, acknowledged) })
	}
	return asking.Wait()
}

// powerless are those whose turn it is.
func (r *rounds) powerless() []*node {
	nodes := r.cluster.nodes
	leader := r.cluster.leader()
	switch turn := r.done % 4; {
	case turn == 0 && leader != nil:
		return []*node{leader}
	case turn == 2:
		var most []*node
		for _, i := range r.rand.Perm(len(nodes))[:len(nodes)/2+1] {
			most = append(most, nodes[i])
		}
		return most
	case turn == 3:
		return nodes
	default:
		others := r.cluster.others(leader)
		return []*node{others[r.rand.IntN(len(others))]}
	}
}

func rotScenarios() []scenario {
	return []scenario{
		rotScenario("flipped-bit", "one bit flips in a file of a stopped node", func(r *rounds, n *node, file disk.File) (string, error) {
			bit := r.rand.Int64N(8 * file.Size)
			return fmt.Sprintf("bit %d of %s (%d bytes)", bit, file.Path, file.Size), n.disk.Flip(file.Path, bit)
		}),
		rotScenario("cut-file", "a file of a stopped node is cut short", func(r *rounds, n *node, file disk.File) (string, error) {
			size := r.rand.Int64N(file.Size)
			return fmt.Sprintf("%s from %d to %d bytes", file.Path, file.Size, size), n.disk.Truncate(file.Path, size)
		}),
		{
			name: "flipped-while-running", what: "bits flip in the log of a node that runs: does it end and say what to do, or answer rightly and lead", rate: rotRate,
			round: func(ctx context.Context, r *rounds) error {
				n := r.cluster.nodes[r.rand.IntN(len(r.cluster.nodes))]
				place := r.journal.begin(&fault{name: "flipped-while-running", exits: true})
				defer r.journal.end(place)
				return r.rotRunning(ctx, n, func() error {
					const log = "data/raft.db"
					content, err := n.disk.Read(log)
					r.journal.describe(place, n.name, fmt.Sprintf("%d bits of %d bytes", rottenBits, len(content)))
					for range rottenBits {
						err = errors.Join(err, n.disk.Flip(log, r.rand.Int64N(8*int64(len(content)))))
					}
					return err
				})
			},
		},
	}
}

// rottenBits are so many that some are probably in pages in use.
const rottenBits = 100

// rotRunning damages a node that runs, lets it run for a moment, and starts it again if it has not ended by itself.
func (r *rounds) rotRunning(ctx context.Context, n *node, harm func() error) error {
	known, err := r.establish(ctx, r.cluster.others(n)[0])
	if err != nil {
		return err
	}
	said := logSize(n)
	n.forgive()
	if err := harm(); err != nil {
		return err
	}
	pause(ctx, time.Second)
	release := n.hold()
	defer release()
	if n.refused() {
		r.count("noticed while it ran")
	}
	if !n.end(ctx, syscall.SIGKILL, killPatience) {
		return fmt.Errorf("%s cannot be killed", n.name)
	}
	n.forgive()
	release()
	if started, err := r.verdict(ctx, n); err != nil || started {
		return errors.Join(err, r.mustBeRight(ctx, n, known))
	}
	release = n.hold()
	defer release()
	n.end(ctx, syscall.SIGKILL, killPatience) // the supervisor may have begun again
	if err := r.mustSayWhatToDo(n, said); err != nil {
		return err
	}
	r.cluster.replace(ctx, n)
	release()
	if _, err := r.cluster.recover(ctx); err != nil {
		return err
	}
	return r.cluster.awaitVoters(ctx)
}

// forgive forgets how often a node has ended by itself.
func (n *node) forgive() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.quick = 0
}

// refused tells whether it has ended by itself since.
func (n *node) refused() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.quick > 0
}

// rotScenario damages a file of a stopped node, starts it, and takes what it does then for right only if it either
// says what to do, or knows all that the others know, also as their leader.
func rotScenario(name, what string, harm func(r *rounds, n *node, file disk.File) (string, error)) scenario {
	return scenario{
		name: name, what: what + ": does it refuse to start and say what to do, or answer rightly and lead", rate: rotRate,
		round: func(ctx context.Context, r *rounds) error {
			if r.done%snapshotsEvery == 0 {
				if err := r.cluster.snapshotEverywhere(ctx); err != nil {
					return err
				}
			}
			n := r.cluster.nodes[r.rand.IntN(len(r.cluster.nodes))]
			place := r.journal.begin(&fault{name: name, exits: true})
			defer r.journal.end(place)
			return r.rot(ctx, n, func() error {
				file, ok := anyFile(n.disk, r.rand)
				if !ok {
					return errors.New("there are no files")
				}
				text, err := harm(r, n, file)
				r.journal.describe(place, n.name, text)
				return err
			})
		},
	}
}

const rotRate = 50

// facts are what everybody must know.
type facts struct {
	since      time.Time
	live, dead []string // access tokens
}

// factsAge is well below the lifetime of a token.
const factsAge = 5 * time.Minute

func (r *rounds) rot(ctx context.Context, n *node, harm func() error) error {
	release := n.hold()
	defer release()
	if !n.end(ctx, syscall.SIGKILL, killPatience) {
		return fmt.Errorf("%s cannot be killed", n.name)
	}
	known, err := r.establish(ctx, r.cluster.others(n)[0])
	if err != nil {
		return err
	}
	healthy := r.cluster.spare.disk
	n.disk.CopyTo(healthy)
	if err := harm(); err != nil {
		return err
	}
	said := logSize(n)
	n.forgive()
	release()
	started, err := r.verdict(ctx, n)
	if err != nil {
		return err
	}
	if started {
		return r.mustBeRight(ctx, n, known)
	}
	release = n.hold()
	defer release()
	n.end(ctx, syscall.SIGKILL, killPatience) // the supervisor may have begun again
	if err := r.mustSayWhatToDo(n, said); err != nil {
		return err
	}
	if r.counts["refused, and said what to do"]%replacedEvery == 0 {
		r.cluster.replace(ctx, n)
		r.count("replaced as it said")
	} else {
		healthy.CopyTo(n.disk)
	}
	release()
	if _, err := r.cluster.recover(ctx); err != nil {
		return err
	}
	return r.cluster.awaitVoters(ctx)
}

// verdict waits until a node is ready or has ended by itself.
func (r *rounds) verdict(ctx context.Context, n *node) (started bool, err error) {
	for began := time.Now(); time.Since(began) < verdictPatience && pause(ctx, lookInterval); {
		if refused := n.refused(); refused || n.ready.Load() {
			return !refused, nil
		}
	}
	return false, fmt.Errorf("%s neither becomes ready nor ends within %v: %s", n.name, verdictPatience, n.lastWords())
}

// establish makes facts while the node is down, and earlier ones count too: those that it has on its disk.
func (r *rounds) establish(ctx context.Context, through *node) (known facts, err error) {
	known.since = time.Now()
	if known.live, err = r.issueSome(ctx, through, 2); err != nil {
		return known, err
	}
	if known.dead, err = r.issueSome(ctx, through, 2); err != nil {
		return known, err
	}
	if err := r.endAll(ctx, through, known.dead); err != nil {
		return known, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.known.since) > factsAge {
		r.known = known
	}
	return facts{known.since, append(known.live, r.known.live...), append(known.dead, r.known.dead...)}, nil
}

// mustBeRight asks a node that has started with damaged files, then makes it the leader and asks everybody.
func (r *rounds) mustBeRight(ctx context.Context, n *node, known facts) error {
	r.count("started, and was right")
	if err := r.ask(ctx, n, known); err != nil {
		return err
	}
	id, err := n.serverID()
	if err != nil {
		return err
	}
	if r.cluster.leader() != n && r.cluster.jeton(ctx, nil, "operator", "raft", "transfer-leader", id, "--config", r.cluster.nodes[0].config()) == nil {
		r.count("then made the leader")
	}
	if _, err := r.cluster.recover(ctx); err != nil {
		return err
	}
	for _, other := range r.cluster.nodes {
		if err := r.ask(ctx, other, known); err != nil {
			return err
		}
	}
	return nil
}

// ask asks a node for what it must know.
func (r *rounds) ask(ctx context.Context, n *node, known facts) error {
	if err := r.mustKnow(ctx, n, known.live); err != nil {
		return err
	}
	for _, token := range known.dead {
		if status, _ := r.cluster.admin.authenticate(ctx, n.url(), token); status == http.StatusOK {
			r.journal.violate("%s calls a token valid that was invalidated", n.name)
		}
	}
	return nil
}

// mustSayWhatToDo looks at what a node wrote before it ended.
func (r *rounds) mustSayWhatToDo(n *node, from int64) error {
	content, err := os.ReadFile(n.logFile())
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	said := content[min(from, int64(len(content))):]
	// bbolt has a goroutine whose panic nobody can catch. Then the next start says what to do, but a start never panics.
	start := said[bytes.LastIndex(said, []byte("\njeton: start node"))+1:]
	advised := bytes.Contains(said, []byte("remove-peer")) || bytes.Contains(said, []byte("node_name"))
	if !advised || bytes.Contains(start, []byte("\ngoroutine ")) {
		r.journal.violate("%s ended and does not say what to do: %s", n.name, n.lastWords())
		return nil
	}
	r.count("refused, and said what to do")
	return nil
}

// logSize is how much a node has written to its log.
func logSize(n *node) int64 {
	info, err := os.Stat(n.logFile())
	if err != nil {
		return 0
	}
	return info.Size()
}
