package load

import (
	"math/rand/v2"
	"slices"
	"sync"
)

// maxTokens is how many tokens are kept to be searched for.
const maxTokens = 4000

// canaries are secrets that must not turn up in logs and files.
type canaries struct {
	mu        sync.Mutex
	random    *rand.Rand
	passwords []string
	tokens    []string
	seen      int
}

func newCanaries(seed uint64) *canaries {
	return &canaries{random: rand.New(rand.NewPCG(seed, 3<<32))} //nolint:gosec // reproducible, and no secret
}

func (c *canaries) add(password string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passwords = append(c.passwords, password)
}

// sample keeps each token with the same probability.
func (c *canaries) sample(tokens ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, token := range tokens {
		c.seen++
		if len(c.tokens) < maxTokens {
			c.tokens = append(c.tokens, token)
		} else if i := c.random.IntN(c.seen); i < maxTokens {
			c.tokens[i] = token
		}
	}
}

func (c *canaries) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Concat(c.passwords, c.tokens)
}
