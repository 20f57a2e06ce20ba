package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"jeton/scripts/lab/disk"
)

// diskFaults are those of disks and of what is on them.
func diskFaults() (rows []fault) {
	rows = append(rows, forEach(fault{name: "slow-disk", what: "20 ms a write, 150 ms a sync", exits: true}, func(_ context.Context, _ *trial, n *node) func(context.Context) {
		n.disk.Slow(20*time.Millisecond, 150*time.Millisecond)
		return simply(func() { n.disk.Slow(0, 0) })
	})...)
	rows = append(rows, forEach(fault{name: "hang-sync", what: "no sync returns", exits: true}, func(_ context.Context, _ *trial, n *node) func(context.Context) {
		return simply(n.disk.HangSyncs())
	})...)
	rows = append(rows, forEach(fault{name: "full-disk", what: "no space is left", exits: true}, func(_ context.Context, t *trial, n *node) func(context.Context) {
		free := t.rand.Int64N(64 << 10)
		t.text = fmt.Sprintf("%d bytes are left", free)
		n.disk.Fill(free)
		return simply(n.disk.Unlimited)
	})...)
	rows = append(rows, forEach(fault{name: "power-loss", what: "killed, and what was not synced is lost"}, func(ctx context.Context, t *trial, n *node) func(context.Context) {
		return t.powerLoss(ctx, []*node{n})
	})...)
	return append(rows,
		fault{name: "hang-sync-most", what: "no sync returns at the nodes that do not lead, and the leader is killed: nobody can write the next term", exits: true, inject: hangElection},
		fault{name: "power-loss-most", what: "the same of as many nodes as make a majority", inject: func(ctx context.Context, t *trial) func(context.Context) {
			order := t.rand.Perm(len(t.nodes))[:len(t.nodes)/2+1]
			var victims []*node
			for _, i := range order {
				victims = append(victims, t.nodes[i])
			}
			return t.powerLoss(ctx, victims)
		}},
		fault{name: "power-loss-all", what: "the same of all nodes", inject: func(ctx context.Context, t *trial) func(context.Context) {
			return t.powerLoss(ctx, t.nodes)
		}},
		fault{name: "flip-bits", what: "bits are flipped in files of a stopped node, which is then started, and replaced in the end", exits: true, kind: kindMembers, inject: flipBits},
		fault{name: "truncate-file", what: "a file of a stopped node is cut short, the node started, and replaced in the end", exits: true, kind: kindMembers, inject: truncateFile},
	)
}

func hangElection(ctx context.Context, t *trial) func(context.Context) {
	leader := t.theLeader()
	var releases []func()
	for _, n := range t.others(leader) {
		releases = append(releases, n.disk.HangSyncs())
	}
	releases = append(releases, leader.kill(ctx))
	return simply(func() {
		for _, release := range releases {
			release()
		}
	})
}

// powerLoss takes nodes their power, all at once.
func (t *trial) powerLoss(ctx context.Context, victims []*node) func(context.Context) {
	releases := t.killEach(ctx, victims)
	for _, n := range victims {
		if !n.end(ctx, 9, killPatience) {
			t.text = n.name + " could not be killed, so its disk kept everything"
			continue
		}
		t.trouble(n.disk.PowerCut())
	}
	return simply(func() {
		for _, release := range releases {
			release()
		}
	})
}

// anyFile draws one of the files that are not empty: one like the other, or a byte like any other.
func anyFile(d *disk.Disk, r *rand.Rand) (file disk.File, ok bool) {
	var files []disk.File
	all := int64(0)
	for _, f := range d.Files() {
		if f.Size > 0 {
			files = append(files, f)
			all += f.Size
		}
	}
	if len(files) == 0 {
		return file, false
	}
	if r.IntN(2) == 0 {
		return files[r.IntN(len(files))], true
	}
	at := r.Int64N(all)
	for _, f := range files {
		if at -= f.Size; at < 0 {
			return f, true
		}
	}
	return files[0], true
}

func flipBits(ctx context.Context, t *trial) func(context.Context) {
	return t.damage(ctx, func(n *node, file disk.File) {
		bits := 1 + t.rand.IntN(8)
		t.text = fmt.Sprintf("%d bits of %s (%d bytes)", bits, file.Path, file.Size)
		for range bits {
			t.trouble(n.disk.Flip(file.Path, t.rand.Int64N(file.Size*8)))
		}
	})
}

func truncateFile(ctx context.Context, t *trial) func(context.Context) {
	return t.damage(ctx, func(n *node, file disk.File) {
		size := t.rand.Int64N(file.Size)
		t.text = fmt.Sprintf("%s from %d to %d bytes", file.Path, file.Size, size)
		t.trouble(n.disk.Truncate(file.Path, size))
	})
}

// damage stops a node, damages one of its files and starts it. Whatever it does then, it is replaced in the end:
// damage that nobody has noticed must not meet that of another node one day.
func (t *trial) damage(ctx context.Context, harm func(*node, disk.File)) func(context.Context) {
	n := t.anyone()
	release := n.kill(ctx)
	n.mu.Lock()
	n.damaged = true
	n.mu.Unlock()
	if file, ok := anyFile(n.disk, t.rand); ok {
		harm(n, file)
	}
	release()
	return func(ctx context.Context) { t.replaceDamaged(ctx, n) }
}
