package cluster

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The protocols that one port serves, as their ALPN names. Another number means
// that neither end can talk to the other.
const (
	protocolRaft = "raft/1"
	protocolRPC  = "rpc/1"
)

// A frame is: length of the body u32 | kind u8 | request id u64 | body, numbers
// big-endian.
const headerSize = 4 + 1 + 8

// kind says what a frame is. Numbers are never reused.
type kind uint8

const (
	kindPropose kind = 1
	kindConfirm kind = 2
	kindJoin    kind = 3
	kindLeave   kind = 4
	kindStatus  kind = 5
	kindPing    kind = 6
	// kindTransfer hands over the leadership.
	kindTransfer kind = 7
	// kindExchange carries what only the nodes understand.
	kindExchange kind = 8

	// kindAnswer is added to the kind of a request for its answer.
	kindAnswer kind = 0x80
	// kindHello is the first frame from the accepting end, sent once it has
	// verified the dialling end. Its body is lineage and server id of the accepting end.
	kindHello kind = kindAnswer
	// kindFailure answers any request: code u8 | text.
	kindFailure kind = 0xff
)

// Limits of bodies. They are checked before anything is allocated.
const (
	// maxProposeBody holds a batch of commands or of their outcomes.
	maxProposeBody = 1 << 20
	// maxExchangeAnswer holds a part of something large.
	maxExchangeAnswer = 1 << 20
	// maxStatusAnswer holds all members, of which a leader says the most: several hundred.
	maxStatusAnswer = 256 << 10
	// maxSmallBody holds everything else that has names and addresses in it.
	maxSmallBody = 8 << 10
)

// maxBody returns the largest body of a kind. Kinds of a later release get as
// much as a small one, so that they can be skipped and refused.
func maxBody(k kind) int {
	switch k {
	case kindPropose, kindPropose | kindAnswer:
		return maxProposeBody
	case kindExchange | kindAnswer:
		return maxExchangeAnswer
	case kindStatus | kindAnswer:
		return maxStatusAnswer
	case kindConfirm, kindPing, kindPing | kindAnswer:
		return 0
	case kindHello:
		return lineageSize + maxServerID
	case kindConfirm | kindAnswer:
		return confirmationSize + maxServerID
	case kindJoin, kindLeave, kindStatus, kindTransfer, kindExchange, kindFailure:
		return maxSmallBody
	default:
		return maxSmallBody
	}
}

// errFrame is wrapped by the refusal of bytes that are no frame.
var errFrame = errors.New("malformed frame")

type header struct {
	size int // of the body
	kind kind
	id   uint64
}

func parseHeader(b []byte) (header, error) {
	h := header{kind: kind(b[4]), id: binary.BigEndian.Uint64(b[5:13])}
	size := int64(binary.BigEndian.Uint32(b[:4]))
	if size > int64(maxBody(h.kind)) {
		return header{}, fmt.Errorf("%w: %d bytes are too many for kind %d", errFrame, size, h.kind)
	}
	h.size = int(size)
	return h, nil
}

// beginFrame appends a header whose length endFrame fills in.
func beginFrame(dst []byte, k kind, id uint64) []byte {
	dst = append(dst, 0, 0, 0, 0, byte(k))
	return binary.BigEndian.AppendUint64(dst, id)
}

// endFrame completes the frame that began at dst[start:].
func endFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-headerSize)) //nolint:gosec // every sender checks maxBody
	return dst
}

// appendFrame appends a frame without a body.
func appendFrame(dst []byte, k kind, id uint64) []byte {
	return endFrame(beginFrame(dst, k, id), len(dst))
}

// readBufferSize holds hundreds of confirmations, and most batches whole.
const readBufferSize = 16 << 10

// frameReader reads frames one after the other. After next, exactly one of
// inPlace, copied and skip must be called before next is called again.
type frameReader struct {
	in *bufio.Reader
	// hurry, if set, is called with true when the rest of a frame that has begun
	// must be waited for, and with false once it is there.
	hurry   func(bool)
	hurried bool
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{in: bufio.NewReaderSize(r, readBufferSize)}
}

// next waits for a frame and reads its header.
func (f *frameReader) next() (header, error) {
	if f.in.Buffered() == 0 {
		if _, err := f.in.Peek(1); err != nil {
			return header{}, err //nolint:wrapcheck // the connection's own error, io.EOF for a clean end
		}
	}
	f.await(headerSize)
	b, err := f.in.Peek(headerSize)
	if err != nil {
		return header{}, unexpected(err)
	}
	h, err := parseHeader(b)
	if err != nil {
		return header{}, err
	}
	_, _ = f.in.Discard(headerSize) // it was peeked
	return h, nil
}

// inPlace returns the body, valid until the next call. For bodies that fit the
// buffer.
func (f *frameReader) inPlace(h header) ([]byte, error) {
	f.await(h.size)
	b, err := f.in.Peek(h.size)
	if err != nil {
		return nil, unexpected(err)
	}
	_, _ = f.in.Discard(h.size) // it was peeked
	f.relax()
	return b, nil
}

// copied returns the body, which the caller may keep.
func (f *frameReader) copied(h header) ([]byte, error) {
	f.await(h.size)
	b := make([]byte, h.size)
	if _, err := io.ReadFull(f.in, b); err != nil {
		return nil, unexpected(err)
	}
	f.relax()
	return b, nil
}

func (f *frameReader) skip(h header) error {
	f.await(h.size)
	if _, err := f.in.Discard(h.size); err != nil {
		return unexpected(err)
	}
	f.relax()
	return nil
}

// whole says that the next frame can be read without waiting.
func (f *frameReader) whole() bool {
	if f.in.Buffered() < headerSize {
		return false
	}
	b, _ := f.in.Peek(headerSize)
	h, err := parseHeader(b)
	return err != nil || f.in.Buffered() >= headerSize+h.size
}

func (f *frameReader) await(n int) {
	if f.hurry != nil && !f.hurried && f.in.Buffered() < n {
		f.hurried = true
		f.hurry(true)
	}
}

func (f *frameReader) relax() {
	if f.hurried {
		f.hurried = false
		f.hurry(false)
	}
}

// unexpected tells the end of a stream within a frame from one between frames.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read a frame: %w", err)
}
