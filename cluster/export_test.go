package cluster

// Names of what the tests outside reach for.
const (
	MaxProposeBody = maxProposeBody
	MaxCommands    = maxCommands
	MaxRunning     = maxRunning
	FrameTimeout   = frameTimeout
	StoreLimit     = storeLimit
	ProtocolRaft   = protocolRaft
	ProtocolRPC    = protocolRPC
	KindPropose    = byte(kindPropose)
	KindConfirm    = byte(kindConfirm)
	KindFailure    = byte(kindFailure)
)

// PeerIdentity reads the names in a certificate.
var PeerIdentity = peerIdentity

// AppendFrame appends a frame with a body.
func AppendFrame(dst []byte, k byte, id uint64, body []byte) []byte {
	return endFrame(append(beginFrame(dst, kind(k), id), body...), len(dst))
}

// NewFrameReader, Frame: the reader as a server uses it.
var NewFrameReader = newFrameReader

// NextFrame reads one whole frame.
func NextFrame(f *frameReader) (k byte, id uint64, body []byte, err error) {
	h, err := f.next()
	if err != nil {
		return 0, 0, nil, err
	}
	body, err = f.copied(h)
	return byte(h.kind), h.id, body, err
}

// Encodings of bodies.
var (
	AppendList         = appendList
	DecodeList         = decodeList
	ListSize           = listSize
	AppendConfirmation = appendConfirmation
	DecodeConfirmation = decodeConfirmation
	AppendProposed     = appendProposed
	DecodeProposed     = decodeProposed
	AppendFailure      = appendFailure
	DecodeFailure      = decodeFailure
	AppendPatience     = appendPatience
	CutPatience        = cutPatience
	DecodeVote         = decodeVote
)
