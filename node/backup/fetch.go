package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// endPatience is how long a node may take to hear that nobody wants its snapshot.
const endPatience = 2 * time.Second

// Fetch takes a snapshot of a node's state: ask puts a question to its [Server]. It hands
// what the snapshot holds to begin, which returns where its bytes are to be written.
func Fetch(ctx context.Context, ask func(context.Context, []byte) ([]byte, error), stale bool, begin func(Header) (io.Writer, error)) error {
	var opened opening
	if err := exchange(ctx, ask, question{Begin: true, Stale: stale}, func(answer []byte) error {
		return json.Unmarshal(answer, &opened)
	}); err != nil {
		return err
	}
	whole := false
	defer func() {
		if !whole { // else its place would be taken for a while
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
			defer cancel()
			_ = exchange(ctx, ask, question{Save: opened.Save, End: true}, func([]byte) error { return nil })
		}
	}()
	to, err := begin(opened.Header)
	if err != nil {
		return err
	}
	for part, more := 0, true; more; part++ {
		if err := exchange(ctx, ask, question{Save: opened.Save, Part: part}, func(answer []byte) error {
			more = len(answer) > 0
			_, err := to.Write(answer)
			return err //nolint:wrapcheck // exchange does
		}); err != nil {
			return err
		}
	}
	whole = true
	return nil
}

func exchange(ctx context.Context, ask func(context.Context, []byte) ([]byte, error), q question, take func(answer []byte) error) error {
	asked, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("take a snapshot: %w", err)
	}
	answer, err := ask(ctx, asked)
	if err != nil {
		return fmt.Errorf("take a snapshot: %w", err)
	}
	if err := take(answer); err != nil {
		return fmt.Errorf("save a snapshot: %w", err)
	}
	return nil
}
