package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sync/errgroup"

	"jeton/fsm"
)

// diskTraps are those of disks.
func diskTraps() []trap {
	return []trap{
		{
			name: "power-cut", what: "all nodes lose their power, and what they had not synced, right after answers",
			catches: []string{"no-sync"},
			slow:    true, spring: powerCut,
		},
		{
			name: "flipped-bits", what: "bits of tokens are flipped in the log of a node that is down",
			catches: []string{"no-checksum"},
			damages: true, spring: flippedBits,
		},
	}
}

// powerCut takes all nodes their power and asks for what they acknowledged.
func powerCut(ctx context.Context, s *stage) error {
	const each = 40
	live, dead := make([]pair, each), make([]pair, each)
	var writing errgroup.Group
	for i := range each {
		n := s.nodes[i%len(s.nodes)]
		writing.Go(func() (err error) {
			if dead[i], err = s.admin.issue(ctx, n.url()); err != nil {
				return err
			}
			if err := s.admin.invalidate(ctx, n.url(), dead[i].Access); err != nil {
				return err
			}
			live[i], err = s.admin.issue(ctx, n.url())
			return err
		})
	}
	if err := writing.Wait(); err != nil {
		return err
	}
	releases := s.killEach(ctx, s.nodes)
	for _, n := range s.nodes {
		if !n.end(ctx, syscall.SIGKILL, killPatience) {
			return fmt.Errorf("%s cannot be killed", n.name)
		}
		if err := n.disk.PowerCut(); err != nil {
			return err
		}
	}
	for _, release := range releases {
		release()
	}
	if err := s.awaitReady(ctx, startPatience); err != nil {
		s.journal.violate("the power is back: %v", err)
		return nil
	}
	for i := range each {
		s.mustLive(ctx, s.nodes, live[i].Access)
		s.mustBeDead(ctx, s.nodes, dead[i].Access)
	}
	return nil
}

// flippedBits damages the log where it names tokens, and asks the node for these.
func flippedBits(ctx context.Context, s *stage) error {
	leader, err := s.theLeader(ctx)
	if err != nil {
		return err
	}
	victim := s.others(leader)[0]
	var tokens []pair
	for range 20 {
		p, err := s.admin.issue(ctx, leader.url())
		if err != nil {
			return err
		}
		tokens = append(tokens, p)
	}
	if err := s.warm(ctx, victim, tokens[0].Access); err != nil { // it has all of them
		return err
	}
	release := victim.kill(ctx)
	defer release()
	if !victim.end(ctx, syscall.SIGKILL, killPatience) {
		return fmt.Errorf("%s cannot be killed", victim.name)
	}
	if err := s.flipDigests(victim, tokens); err != nil {
		return err
	}
	release()
	// It answers, or ends again and again because it noticed.
	begun := 0
	if err := s.await(ctx, victim.name+" is ready or refuses to be", func() bool {
		victim.mu.Lock()
		begun = victim.quick
		victim.mu.Unlock()
		return victim.ready.Load() || begun >= 2
	}); err != nil {
		return err
	}
	for _, p := range tokens {
		s.mustLive(ctx, s.nodes, p.Access)
	}
	return nil
}

// flipDigests flips a bit in each place where the log of a node that is down names one of the tokens.
func (s *stage) flipDigests(n *node, tokens []pair) error {
	const path = "data/raft.db"
	content, err := n.disk.Read(path)
	if err != nil {
		return err
	}
	flipped := 0
	for _, p := range tokens {
		sum := sha256.Sum256([]byte(p.Access))
		digest := sum[:len(fsm.Digest{})]
		for at := 0; ; at++ {
			next := bytes.Index(content[at:], digest)
			if next < 0 {
				break
			}
			at += next
			if err := n.disk.Flip(path, int64(8*at+s.rand.IntN(8*len(digest)))); err != nil {
				return err
			}
			flipped++
		}
	}
	if flipped == 0 {
		return errors.New("the log names none of the tokens")
	}
	s.journal.note(n.name, "%d bits flipped", flipped)
	return nil
}
