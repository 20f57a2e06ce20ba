package cluster

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// Raft names the member it wants to talk to by id and address, but its transport
// dials, and pools connections, by the address alone. So both travel to the stream
// layer in what the transport takes for an address: "id@host:port".

// memberAt is the address of a member, for the stream layer.
func memberAt(id raft.ServerID, address raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(id) + "@" + address
}

// cutMember is the inverse of memberAt. The id is empty if there is none.
func cutMember(target raft.ServerAddress) (raft.ServerID, raft.ServerAddress) {
	id, address, found := strings.Cut(string(target), "@")
	if !found {
		return "", target
	}
	return raft.ServerID(id), raft.ServerAddress(address)
}

// target is where a member is now: by its own word if that is known, else by raft's
// configuration.
func (t *Transport) target(id raft.ServerID, configured raft.ServerAddress) raft.ServerAddress {
	if t.addressOf != nil {
		if known := t.addressOf(id); known != "" {
			configured = known
		}
	}
	return memberAt(id, configured)
}

// onOpenConnection makes a request for a vote again if the peer had closed the connection. The
// transport keeps some that nothing reads from, so it finds those of a peer that was started
// anew only by requests that fail, and raft asks for a vote once in an election.
func onOpenConnection(request func() error) (err error) {
	for range defaultMaxPool + 1 {
		err = request()
		closed := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
		if !closed || errors.Is(err, ErrNotSent) {
			break
		}
	}
	return err
}

// RequestVote implements raft.Transport.
func (t *Transport) RequestVote(id raft.ServerID, address raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return onOpenConnection(func() error { return t.NetworkTransport.RequestVote(id, t.target(id, address), args, resp) })
}

// RequestPreVote implements raft.WithPreVote.
func (t *Transport) RequestPreVote(id raft.ServerID, address raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return onOpenConnection(func() error { return t.NetworkTransport.RequestPreVote(id, t.target(id, address), args, resp) })
}

// handOverLimit bounds how long a leader waits for its chosen successor to answer.
// Until then raft refuses every write, however long ago it gave the transfer up, so the
// timeout of other requests is too long. A successor answers before it does anything.
const handOverLimit = time.Second

// TimeoutNow implements raft.Transport. It takes at most a second; the request ends
// with its connection.
func (t *Transport) TimeoutNow(id raft.ServerID, address raft.ServerAddress, args *raft.TimeoutNowRequest, _ *raft.TimeoutNowResponse) error {
	done := make(chan error, 1)
	go func() {
		done <- t.NetworkTransport.TimeoutNow(id, t.target(id, address), args, &raft.TimeoutNowResponse{})
	}()
	timer := time.NewTimer(handOverLimit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("no answer within %s", handOverLimit)
	}
}
