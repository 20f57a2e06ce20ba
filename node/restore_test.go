package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"jeton/fsm"
	"jeton/node/backup"
)

// simClusterID is that of a simulated cluster which is initialized.
var simClusterID = [16]byte{1}

// initialize gives the cluster its identity, and so many kilobytes of users that a
// restore takes several chunks.
func (s *sim) initialize(kilobytes int) {
	s.t.Helper()
	s.mustPropose(s.leader(), fsm.Initialize{ClusterID: simClusterID})
	metadata := fmt.Appendf(nil, `{"x":"%s"}`, bytes.Repeat([]byte{'x'}, 20<<10))
	for n := range kilobytes / 20 {
		s.mustPropose(s.leader(), fsm.PutUser{Username: fsm.Username(fmt.Sprintf("bulk%d", n)), Verifier: "v", Metadata: metadata})
	}
}

// backup returns the state of a member, with everything that was acknowledged before.
func (p *incarnation) backup(ctx context.Context) (*fsm.FSM, error) {
	if err := p.node.confirmer.ConfirmRead(ctx); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := p.node.replica.state.Save(func(fsm.Summary) (io.Writer, error) { return &b, nil }); err != nil {
		return nil, err
	}
	state := fsm.New(nil)
	return state, state.Restore(io.NopCloser(&b))
}

// proposeEncoded has a command applied that has its operation id.
func (p *incarnation) proposeEncoded(ctx context.Context, command []byte) (fsm.Outcome, error) {
	c, err := fsm.DecodeCommand(command)
	if err != nil {
		return fsm.Outcome{}, err
	}
	return p.node.Propose(ctx, c)
}

// restore restores a backup through whichever member answers, going on to the next when
// one does not, as the operator's command does.
func (s *sim) restore(state *fsm.FSM, keepSessions bool, brought func(done int64)) error {
	how := backup.Restoring{From: simClusterID, KeepSessions: keepSessions, Propose: func(ctx context.Context, command []byte) (fsm.Outcome, error) {
		for end := time.Now().Add(recovery); ; {
			for _, m := range s.members {
				p := m.running()
				if p == nil {
					continue
				}
				attempt, cancel := context.WithTimeout(ctx, time.Second)
				outcome, err := p.proposeEncoded(attempt, command)
				cancel()
				if err == nil && !p.isDead() {
					return outcome, nil
				}
			}
			if time.Now().After(end) {
				return fsm.Outcome{}, errors.New("nobody answers")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}}
	how.Epoch = s.leader().running().node.replica.state.Summary().Epoch
	if brought != nil {
		how.Progress = func(done, _ int64) { brought(done) }
	}
	return backup.Restore(s.t.Context(), state, how)
}

// A member that may read by a lease and is cut off would accept a token that the restore
// ended: so nobody hears that it was restored before it may not read any more.
func TestARestoreIsNotAcknowledgedWhileAReaderDoesNotKnowOfIt(t *testing.T) {
	for name, keep := range map[string]bool{"without sessions": false, "with sessions": true} {
		t.Run(name, func(t *testing.T) {
			simulate(t, simOptions{seed: simSeed(t, 21), variant: variant{lease: simLease}}, func(t *testing.T, s *sim) {
				s.startAll()
				s.initialize(0)
				s.addUser("ann")
				leader, holder := s.leader(), s.followers()[0]
				ctx, cancel := context.WithTimeout(t.Context(), recovery)
				defer cancel()
				state, err := leader.running().backup(ctx)
				if err != nil {
					t.Fatal(err)
				}
				pair := s.mustIssue(leader, "ann") // after the backup: nobody keeps it
				s.eventually("the follower has a lease", func() bool {
					return s.authenticateWithin(holder, pair.AccessToken, time.Second) == nil && holder.running().node.replica.lease.holds()
				})
				s.net.isolate(names(holder), names(s.members...), false)
				var acknowledged atomic.Bool
				done := make(chan error)
				go func() {
					err := s.restore(state, keep, nil)
					acknowledged.Store(true)
					done <- err
				}()
				reads := 0
				for !acknowledged.Load() {
					began := acknowledged.Load()
					if err := s.authenticateWithin(holder, pair.AccessToken, time.Millisecond); err == nil {
						reads++
						if began {
							t.Error("accepted after the restore was acknowledged")
						}
					}
					time.Sleep(5 * time.Millisecond)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if reads == 0 {
					t.Error("the lease was of no use: nothing is shown")
				}
				if err := s.authenticateWithin(holder, pair.AccessToken, simHeartbeat); err == nil {
					t.Error("accepted after the restore was acknowledged")
				}
				s.net.heal()
				for _, m := range s.members {
					if err := s.authenticateWithin(m, pair.AccessToken, recovery); err == nil {
						t.Errorf("%s accepts what the restore ended", m.name)
					}
				}
			})
		})
	}
}

// The leader is killed between two chunks, a follower is started again, and snapshots are
// taken: what was brought so far is in the log and the snapshots like anything else.
func TestARestoreOutlivesWhoeverFails(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 22), trailing: 2, variant: variant{lease: simLease}}, func(t *testing.T, s *sim) {
		s.startAll()
		s.initialize(300)
		s.addUser("ann")
		kept, ended := s.mustIssue(s.leader(), "ann"), s.mustIssue(s.leader(), "ann")
		ctx, cancel := context.WithTimeout(t.Context(), recovery)
		defer cancel()
		state, err := s.leader().running().backup(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.mustInvalidate(s.leader(), "ann", ended.AccessToken)
		s.mustPropose(s.leader(), fsm.DeleteUser{Username: "bulk0"})
		late := s.mustIssue(s.leader(), "ann")

		chunks := 0
		err = s.restore(state, true, func(int64) {
			switch chunks++; chunks {
			case 1:
				s.takeSnapshots()
				s.leader().kill()
			case 2:
				s.startDown()
				s.followers()[0].kill()
			case 3:
				s.takeSnapshots()
				s.startDown()
			case 4:
				s.leader().terminate()
				s.startDown()
			}
		})
		if err != nil || chunks < 5 {
			t.Fatalf("%d chunks, %v", chunks, err)
		}
		s.awaitReady()
		for _, m := range s.members {
			if _, back := m.running().node.replica.state.User(fsm.RealmNative, "bulk0"); !back {
				t.Errorf("%s: what was deleted is not restored", m.name)
			}
			if err := s.authenticateWithin(m, kept.AccessToken, recovery); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
			for what, pair := range map[string]error{
				"was invalidated": s.authenticateWithin(m, ended.AccessToken, recovery),
				"came later":      s.authenticateWithin(m, late.AccessToken, recovery),
			} {
				if pair == nil {
					t.Errorf("%s accepts what %s", m.name, what)
				}
			}
			if got := m.running().node.replica.state.Summary(); got.Epoch != 1 || got.ClusterID != simClusterID {
				t.Errorf("%s: %+v", m.name, got)
			}
		}
	})
}

// Of two restores at once one is told that it came second; the members agree on which.
func TestTwoRestoresAtOnce(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 23)}, func(t *testing.T, s *sim) {
		s.startAll()
		s.initialize(200)
		ctx, cancel := context.WithTimeout(t.Context(), recovery)
		defer cancel()
		state, err := s.leader().running().backup(ctx)
		if err != nil {
			t.Fatal(err)
		}
		answers := make(chan error, 2)
		for range cap(answers) {
			go func() { answers <- s.restore(state, false, nil) }()
		}
		restored := 0
		for range cap(answers) {
			err := <-answers
			refused := new(backup.RefusedError)
			switch {
			case err == nil:
				restored++
			case !errors.As(err, &refused) || refused.Reason != fsm.RestoreLost && refused.Reason != fsm.RestoreOutdated:
				t.Error(err)
			}
		}
		if epoch := s.leader().running().node.replica.state.Summary().Epoch; restored != 1 || epoch != 1 {
			t.Errorf("%d restored, epoch %d", restored, epoch)
		}
	})
}

// Without a quorum nothing is restored, not even later by what was brought.
func TestARestoreWithoutAQuorumChangesNothing(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 24)}, func(t *testing.T, s *sim) {
		s.startAll()
		s.initialize(100)
		s.addUser("ann")
		pair := s.mustIssue(s.leader(), "ann")
		ctx, cancel := context.WithTimeout(t.Context(), recovery)
		defer cancel()
		state, err := s.leader().running().backup(ctx)
		if err != nil {
			t.Fatal(err)
		}
		err = s.restore(state, false, func(int64) {
			for _, m := range s.followers() {
				s.net.isolate(names(m), names(s.members...), false)
			}
		})
		if err == nil {
			t.Fatal("restored without a quorum")
		}
		s.net.heal()
		s.awaitReady()
		for _, m := range s.members {
			if err := s.authenticateWithin(m, pair.AccessToken, recovery); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
		}
	})
}
