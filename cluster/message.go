package cluster

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/raft"
)

// Requests other than confirm and ping begin with the caller's remaining patience
// in milliseconds.
const patienceSize = 4

const (
	// maxCommands bounds the commands of one request, and its outcomes.
	maxCommands = 4096
	// maxServerID bounds the id in a confirmation, which has one byte for its length.
	maxServerID = 255
	// confirmationSize is a confirmation without the id:
	// flags u8 | term u64 | applied u64 | its term u64 | voters u64 | milliseconds i64 | id.
	confirmationSize = 1 + 5*8
	// maxText bounds the text of a failure.
	maxText = 512
)

// errMessage is wrapped by the refusal of a body that cannot be read.
var errMessage = errors.New("malformed message")

// Bits of a confirmation's first byte.
const (
	flagVoter  = 1
	flagLeader = 2
)

// appendPatience appends how long the caller will wait, rounded up so that a
// request is never sent with none.
func appendPatience(dst []byte, patience time.Duration) []byte {
	ms := (max(patience, 1) + time.Millisecond - 1) / time.Millisecond
	return binary.BigEndian.AppendUint32(dst, uint32(min(ms, maxPatience/time.Millisecond)))
}

// maxPatience is the longest that a server works for one request.
const maxPatience = 5 * time.Minute

func cutPatience(b []byte) (patience time.Duration, rest []byte, err error) {
	if len(b) < patienceSize {
		return 0, nil, fmt.Errorf("%w: no patience", errMessage)
	}
	ms := int64(binary.BigEndian.Uint32(b))
	return min(time.Duration(ms)*time.Millisecond, maxPatience), b[patienceSize:], nil
}

// listSize is the size of appendList's result.
func listSize(items [][]byte) int {
	size := 4
	for _, item := range items {
		size += 4 + len(item)
	}
	return size
}

// appendList appends count u32 | { length u32 | bytes }.
func appendList(dst []byte, items [][]byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(items))) //nolint:gosec // at most maxCommands
	for _, item := range items {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(item))) //nolint:gosec // at most maxProposeBody
		dst = append(dst, item...)
	}
	return dst
}

// decodeList is the inverse of appendList. The items share b's memory.
func decodeList(b []byte) ([][]byte, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("%w: no count", errMessage)
	}
	count := binary.BigEndian.Uint32(b)
	b = b[4:]
	if count > maxCommands || uint64(count)*4 > uint64(len(b)) {
		return nil, fmt.Errorf("%w: %d items in %d bytes", errMessage, count, len(b))
	}
	items := make([][]byte, count)
	for i := range items {
		if len(b) < 4 {
			return nil, fmt.Errorf("%w: item %d is missing", errMessage, i)
		}
		size := binary.BigEndian.Uint32(b)
		b = b[4:]
		if uint64(size) > uint64(len(b)) {
			return nil, fmt.Errorf("%w: item %d is cut off", errMessage, i)
		}
		items[i], b = b[:size:size], b[size:]
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", errMessage, len(b))
	}
	return items, nil
}

// appendProposed encodes the answer to a proposal: length u32 | confirmation | outcomes.
func appendProposed(outcomes [][]byte, leader Confirmation) []byte {
	b := make([]byte, 4, 4+confirmationSize+maxServerID+listSize(outcomes))
	b = appendConfirmation(b, leader)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4)) //nolint:gosec // a confirmation is short
	return appendList(b, outcomes)
}

// decodeProposed is the inverse of appendProposed. The outcomes share b's memory.
func decodeProposed(b []byte) (outcomes [][]byte, leader Confirmation, err error) {
	if len(b) < 4 || int64(binary.BigEndian.Uint32(b)) > int64(len(b)-4) {
		return nil, Confirmation{}, fmt.Errorf("%w: no confirmation before the outcomes", errMessage)
	}
	size := 4 + int(binary.BigEndian.Uint32(b))
	if leader, err = decodeConfirmation(b[4:size], ""); err != nil {
		return nil, Confirmation{}, err
	}
	outcomes, err = decodeList(b[size:])
	return outcomes, leader, err
}

func appendConfirmation(dst []byte, c Confirmation) []byte {
	var flags byte
	if c.Voter {
		flags |= flagVoter
	}
	if c.Leader {
		flags |= flagLeader
	}
	dst = append(dst, flags)
	dst = binary.BigEndian.AppendUint64(dst, c.Term)
	dst = binary.BigEndian.AppendUint64(dst, c.Applied)
	dst = binary.BigEndian.AppendUint64(dst, c.AppliedTerm)
	dst = binary.BigEndian.AppendUint64(dst, c.Voters)
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.NowUnixMilli)) //nolint:gosec // the bits, both ways
	return append(dst, c.ServerID[:min(len(c.ServerID), maxServerID)]...)
}

// decodeConfirmation is the inverse of appendConfirmation. The id is taken from
// last if it is the same, to save its allocation.
func decodeConfirmation(b []byte, last raft.ServerID) (Confirmation, error) {
	if len(b) < confirmationSize || b[0]&^(flagVoter|flagLeader) != 0 {
		return Confirmation{}, fmt.Errorf("%w: a confirmation of %d bytes", errMessage, len(b))
	}
	c := Confirmation{
		ServerID:     last,
		Voter:        b[0]&flagVoter != 0,
		Leader:       b[0]&flagLeader != 0,
		Term:         binary.BigEndian.Uint64(b[1:]),
		Applied:      binary.BigEndian.Uint64(b[9:]),
		AppliedTerm:  binary.BigEndian.Uint64(b[17:]),
		Voters:       binary.BigEndian.Uint64(b[25:]),
		NowUnixMilli: int64(binary.BigEndian.Uint64(b[33:])), //nolint:gosec // the bits, both ways
	}
	if id := b[confirmationSize:]; string(id) != string(last) {
		c.ServerID = raft.ServerID(id)
	}
	return c, nil
}

// The codes of a failure.
const (
	codeNotLeader  = 1 // text: the leader's address, or nothing
	codeOverloaded = 2
	codeRefused    = 3 // text: why
	codeUnknown    = 4 // text: what happened; the request may have an effect
)

// appendFailure appends the body that stands for an error of the handler.
func appendFailure(dst []byte, err error) []byte {
	var notLeader *NotLeaderError
	switch {
	case errors.As(err, &notLeader):
		return append(append(dst, codeNotLeader), clip(string(notLeader.Leader))...)
	case errors.Is(err, ErrNotLeader):
		return append(dst, codeNotLeader)
	case errors.Is(err, ErrOverloaded):
		return append(dst, codeOverloaded)
	case errors.Is(err, ErrRefused):
		text := strings.TrimPrefix(err.Error(), ErrRefused.Error()+": ")
		return append(append(dst, codeRefused), clip(text)...)
	default:
		return append(append(dst, codeUnknown), clip(err.Error())...)
	}
}

// decodeFailure is the inverse of appendFailure.
func decodeFailure(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: an empty failure", errMessage)
	}
	text := clip(string(b[1:]))
	switch b[0] {
	case codeNotLeader:
		return &NotLeaderError{Leader: raft.ServerAddress(text)}
	case codeOverloaded:
		return ErrOverloaded
	case codeRefused:
		return fmt.Errorf("%w: %s", ErrRefused, text)
	default:
		return fmt.Errorf("the peer failed, the outcome is unknown: %s", text)
	}
}

func clip(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "?")
	}
	return text
}

// leaveRequest is the body of a leave request. Join, leave, transfer and status are
// rare and may grow, so they are JSON; a field that a peer does not know is ignored.
type leaveRequest struct {
	ID raft.ServerID `json:"id"`
}

// leadership is the body of a transfer: who is to lead, empty for any voter, and in
// the answer who does.
type leadership struct {
	ID raft.ServerID `json:"id"`
}

func encodeSmall(v any) ([]byte, error) { return encode(v, maxSmallBody-patienceSize) }

func encode(v any, limit int) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode a message: %w", err)
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%w: a message of %d bytes", ErrRefused, len(b))
	}
	return b, nil
}

func decodeSmall(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", errMessage, err)
	}
	return nil
}
