package fsm

// operationOffset is where an encoded command holds its operation id: after the
// kind and the format.
const operationOffset = 2

// Name gives an encoded command the operation id, unless it has one. The proposer
// calls it once, before the first attempt: a command without an id could be applied
// twice, and is unreadable.
func (id OperationID) Name(command []byte) {
	if held := command[operationOffset:][:len(id)]; OperationID(held) == (OperationID{}) {
		copy(held, id[:])
	}
}
