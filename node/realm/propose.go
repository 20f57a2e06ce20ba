package realm

import (
	"context"
	"fmt"

	"jeton/fsm"
)

// propose turns the refusals that any command can meet into this package's errors.
func propose(ctx context.Context, log Log, command fsm.Command) (fsm.Outcome, error) {
	outcome, err := log.Propose(ctx, command)
	switch {
	case err != nil:
		return fsm.Outcome{}, fmt.Errorf("propose %T: %w", command, err)
	case outcome.Reason == fsm.StaleDecision:
		return fsm.Outcome{}, ErrStale
	case outcome.Reason == fsm.Expired:
		// The first outcome is forgotten; what it was, nobody can tell.
		return fsm.Outcome{}, fmt.Errorf("propose %T: %w", command, ErrUnavailable)
	}
	return outcome, nil
}

// refusal is nil for an outcome that is none.
func refusal(outcome fsm.Outcome) error {
	if outcome.Reason == fsm.Done {
		return nil
	}
	return &fsm.RefusalError{Reason: outcome.Reason}
}
