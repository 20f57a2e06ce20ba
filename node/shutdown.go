package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// transferTimeout bounds the handover of leadership. The process ends after it
	// in any case: raft can be left unable to lead by a transfer that hangs
	// (hashicorp/raft #696).
	transferTimeout = 3 * time.Second
	// closeTimeout bounds the closing of what drained in time or not.
	closeTimeout = 10 * time.Second
	// abandonTimeout bounds the wait for peers that are being served.
	abandonTimeout = time.Second
)

// fail ends the node for a reason that starting again may mend. Only the first
// reason counts. It does not block.
func (n *Node) fail(reason error) {
	select {
	case n.failed <- reason:
	default:
	}
}

// Wait returns when the node has ended: the reason if it cannot go on by itself (a
// store that cannot be relied on, a cluster key that is not the cluster's), in
// which case the process should end and starting it again is always safe; nil after
// Shutdown or Close.
func (n *Node) Wait() error {
	select {
	case reason := <-n.failed:
		return reason
	case <-n.closed:
		return nil
	}
}

// Shutdown ends the node so that clients notice latency at most: readiness goes
// off, requests are served until the load balancer has noticed, leadership is
// handed over, requests in progress are finished, everything is closed. When ctx
// ends, what is left is cut short. The node stays a member of the cluster.
func (n *Node) Shutdown(ctx context.Context) error {
	n.draining.Store(true)
	n.log.Info("shutting down", "delay", n.config.Shutdown.Delay, "drain", n.config.Shutdown.Drain)
	n.front.retire(time.Now().Add(max(n.config.Shutdown.Delay, leastRetirement)))
	n.announceEnd(ctx, n.config.Shutdown.Delay)
	n.replica.vigil.over.Store(true)
	if n.replica.leads() {
		n.handOver(ctx)
	}
	drained := n.front.end(ctx, n.config.Shutdown.Drain)
	return errors.Join(drained, n.Close())
}

// announceEnd serves on for a while, without a lease.
func (n *Node) announceEnd(ctx context.Context, delay time.Duration) {
	end := time.Now().Add(delay)
	if n.replica.lease != nil {
		n.replica.lease.retire(ctx)
	}
	pause(ctx, time.Until(end))
}

// handOver gives the leadership to another voter, if there is one that takes it.
func (n *Node) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	var err error
	for ctx.Err() == nil && n.replica.leads() && len(n.replica.voters()) > 1 {
		if _, err = n.transfer(ctx, ""); err == nil {
			return
		}
		pause(ctx, maxRetryDelay)
	}
	if err != nil {
		n.log.Warn("leadership not handed over; the others will elect a leader when this node is gone", "error", err)
	}
}

// awaitLeader waits until it is known who leads after this node has handed over, so
// that requests still in progress here find it.
func (n *Node) awaitLeader(ctx context.Context) {
	for ctx.Err() == nil {
		changed := n.replica.leaderChanged()
		if address, _ := n.replica.raft.LeaderWithID(); address != "" {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Abandon closes the ports and connections of a node that cannot go on, so that
// clients and peers turn to others at once, and touches nothing else: a write to its
// disk may hang, and until that returns the kernel keeps the process, with every
// socket that is open then. It returns within a second. The process is to end next.
func (n *Node) Abandon() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.front.cut()
		_ = n.service.Close() // closes first, and then waits for who is being served
	}()
	timer := time.NewTimer(abandonTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// Close ends the node at once, in the reverse order of Open, and waits for
// everything it started. It may be called again.
func (n *Node) Close() error {
	n.closing.Do(func() {
		defer close(n.closed)
		done := make(chan error, 1)
		go func() { done <- n.closeAll() }()
		timer := time.NewTimer(closeTimeout)
		defer timer.Stop()
		select {
		case n.closeErr = <-done:
		case <-timer.C:
			n.closeErr = errors.New("close: gave up waiting; the process may end all the same")
		}
	})
	return n.closeErr
}

func (n *Node) closeAll() error {
	var problems []error
	for _, c := range slices.Backward(n.closers) {
		if err := c.do(); err != nil {
			problems = append(problems, fmt.Errorf("close %s: %w", c.what, err))
		}
	}
	return errors.Join(problems...)
}
