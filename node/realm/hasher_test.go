package realm_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"jeton/node/realm"
)

func TestHasherBoundsWorkAndQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hasher := realm.NewBoundedHasher(2, 3)
		var got atomic.Int32
		for range 5 { // two work, three wait
			go func() {
				if err := hasher.Acquire(t.Context(), "joe"); err != nil {
					t.Error(err)
				}
				got.Add(1)
			}()
		}
		synctest.Wait()
		if n := got.Load(); n != 2 {
			t.Fatalf("%d hashes at a time, want 2", n)
		}
		if err := hasher.Acquire(t.Context(), "joe"); !errors.Is(err, realm.ErrBusy) {
			t.Fatalf("with a full queue: %v, want ErrBusy", err)
		}
		for range 3 {
			hasher.Release()
			synctest.Wait()
		}
		if n := got.Load(); n != 5 {
			t.Fatalf("%d hashes were done, want 5: who waits is served", n)
		}
		hasher.Release()
		if err := hasher.Acquire(t.Context(), "joe"); err != nil {
			t.Fatalf("after the rush: %v", err)
		}
	})
}

func TestHasherStopsWaitingWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hasher := realm.NewBoundedHasher(1, 1)
		if err := hasher.Acquire(t.Context(), "joe"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- hasher.Acquire(ctx, "joe") }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want the context's error", err)
		}
		// Its place in the queue is free again.
		go func() { done <- hasher.Acquire(t.Context(), "joe") }()
		synctest.Wait()
		hasher.Release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
