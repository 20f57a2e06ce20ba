package fsm

import "testing"

func TestTheLevelNeverFalls(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	for _, step := range []struct{ raise, want uint64 }{{3, 3}, {2, 3}, {3, 3}, {4, 4}} {
		if got := s.apply(RaiseLevel{Level: step.raise}); got != (Outcome{}) || s.state.level != step.want {
			t.Errorf("raised to %d: %v, level %d", step.raise, got, s.state.level)
		}
	}
	if f := fsmOf(s); f.Level() != 4 || f.Summary().Level != 4 {
		t.Errorf("level %d", f.Level())
	}
}

// Every kind has a level that this release understands; a number that is no kind has
// none.
func TestKindsHaveTheirLevel(t *testing.T) {
	t.Parallel()
	for k := range Kind(255) {
		if known := newCommand(k) != nil; known != (k.Level() <= Level) {
			t.Errorf("kind %d, %s: level %d", k, k, k.Level())
		}
	}
}
