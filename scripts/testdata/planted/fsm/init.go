package fsm

import "slices"

var order []int

func init() { // planted: gochecknoinits
	slices.Sort(order)
}

// Reason is planted.
type Reason int

// The reasons.
const (
	Gone Reason = iota + 1
	Late
)

// Text forgets a reason; its default does not excuse it.
func Text(r Reason) string {
	switch r { // planted: exhaustive
	case Gone:
		return "gone"
	default:
		return "?"
	}
}
