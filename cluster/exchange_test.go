package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"jeton/cluster"
)

// What nodes say to each other by an exchange this package only carries.
func TestAnExchangeCarriesBytes(t *testing.T) {
	var asked []byte
	answers := map[string][]byte{"small": {}, "large": bytes.Repeat([]byte{7}, 1<<20), "too large": make([]byte, 1<<20+1)}
	client, address := pair(t, &fakeHandler{exchange: func(_, _ context.Context, question []byte) ([]byte, error) {
		asked = bytes.Clone(question)
		if answer, ok := answers[string(question)]; ok {
			return answer, nil
		}
		return nil, cluster.ErrRefused
	}})
	for _, question := range []string{"small", "large"} {
		got, err := client.Exchange(t.Context(), address, []byte(question))
		if err != nil || !bytes.Equal(got, answers[question]) || string(asked) != question {
			t.Errorf("%s: %d bytes, %v", question, len(got), err)
		}
	}
	if _, err := client.Exchange(t.Context(), address, []byte("too large")); err == nil || errors.Is(err, cluster.ErrNotProposed) {
		t.Errorf("an answer over the limit: %v", err)
	}
	if _, err := client.Exchange(t.Context(), address, []byte("unknown")); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("refused: %v", err)
	}
	if _, err := client.Exchange(t.Context(), address, make([]byte, 8<<10)); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("a question over the limit: %v", err)
	}
}

// Who answers in several parts hears when the one who asks is gone.
func TestAnExchangeKnowsItsConnection(t *testing.T) {
	conns := make(chan context.Context, 1)
	client, address := pair(t, &fakeHandler{exchange: func(ctx, conn context.Context, _ []byte) ([]byte, error) {
		conns <- conn
		return nil, nil
	}})
	if _, err := client.Exchange(t.Context(), address, nil); err != nil {
		t.Fatal(err)
	}
	conn := <-conns
	if err := conn.Err(); err != nil {
		t.Errorf("the connection has ended with the question: %v", err)
	}
	_ = client.Close()
	<-conn.Done()
}
