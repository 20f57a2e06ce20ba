package load

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"jeton/node/token/tokentest"
)

const (
	// hot is how many of the newest families get half of all requests.
	hot = 4
	// maxUnknown is how many outcomes of a family may be unknown. After that its
	// tokens are only looked at: open operations make the check slow.
	maxUnknown = 6
	// maxAge is how long a family is used, unless its tokens expire too soon for it.
	maxAge = time.Minute
	// maxRefreshed leaves room for refreshes that are under way.
	maxRefreshed = tokentest.MaxGenerations - 10
	// afterlife is how often a family is asked about once it was ended.
	afterlife = 8
)

// crowd is who and what is in use.
type crowd struct {
	load *Load

	mu       sync.Mutex
	families []*family // in the order they began
	persons  []*person
	named    int // users that ever were
	making   int // users that are being made
}

// person is a user of the cluster.
type person struct{ name, password string }

// family is a login in use and what came of it.
type family struct {
	number  int
	person  *person
	quota   int // requests that are still to come
	unknown int
	until   time.Duration
}

func newCrowd(l *Load) *crowd { return &crowd{load: l} }

// order is what a worker shall do.
type order struct {
	in     tokentest.Input
	person *person   // of Issue, and of what concerns a whole user
	enrol  bool      // make the person first; nothing else
	burst  bool      // present the refresh token everywhere at once
	oauth2 bool      // over OAuth 2.0
	quiet  bool      // nothing is asked about what a refresh brings
	at     *endpoint // nil: anybody
	// patience is when to give the request up on purpose; zero: not.
	patience time.Duration
}

// next draws what is to be done, and lets families go that were used enough.
func (c *crowd) next(random *rand.Rand) order {
	o, over := c.draw(random)
	for _, number := range over {
		c.load.history.Finish(number)
	}
	return o
}

func (c *crowd) draw(random *rand.Rand) (o order, over []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.load.now()
	c.families = slices.DeleteFunc(c.families, func(f *family) bool {
		if f.quota > 0 && now <= f.until {
			return false
		}
		over = append(over, f.number)
		return true
	})
	o.oauth2 = random.IntN(5) == 0
	switch {
	case len(c.persons)+c.making < c.load.config.Users:
		c.making++
		o.enrol, o.person = true, c.newPersonLocked()
	case len(c.persons) == 0:
		o.enrol = true // nobody yet: nothing to do
	case len(c.families) < c.load.config.Families && (len(c.families) < c.least() || random.IntN(4) == 0):
		o.person = c.persons[random.IntN(len(c.persons))]
		o.in = tokentest.Input{Action: tokentest.Issue, User: o.person.name}
	default:
		c.drawLocked(random, &o)
	}
	return o, over
}

// least is with how many families there is more to do than to log in.
func (c *crowd) least() int {
	if c.load.config.Calm {
		return c.load.config.Families / 4
	}
	return hot
}

func (c *crowd) newPersonLocked() *person {
	c.named++
	p := &person{name: fmt.Sprintf("user-%d-%d", c.load.config.Seed%1000, c.named)}
	p.password = fmt.Sprintf("Canary-of-%s-%x", p.name, c.load.config.Seed)
	return p
}

// drawLocked draws a family and what to do with it.
func (c *crowd) drawLocked(random *rand.Rand, o *order) {
	place := random.IntN(len(c.families))
	if !c.load.config.Calm && random.IntN(2) == 0 {
		place = len(c.families) - 1 - random.IntN(min(hot, len(c.families)))
	}
	f := c.families[place]
	f.quota--
	_, pairs := c.load.history.Family(f.number)
	o.in = tokentest.Input{User: f.person.name, Family: f.number, Generation: max(0, len(pairs)-1-random.IntN(3)), Action: tokentest.Authenticate}
	draw := random.IntN(100)
	if f.unknown >= maxUnknown {
		return
	}
	switch {
	case draw < 20:
		if o.in.Action = tokentest.Refresh; len(pairs) > maxRefreshed {
			o.in.Action = tokentest.InvalidateFamily
		}
		o.burst = draw == 0
	case draw < 30:
		o.in.Action = tokentest.InvalidateAccess
	case draw < 32: // OAuth 2.0 has no such thing, nor the last two
		o.in.Action, o.oauth2 = tokentest.InvalidateRefresh, false
	case draw < 33:
		o.in.Action = tokentest.InvalidateFamily
	case draw < 35:
		o.in.Action, o.person, o.oauth2 = tokentest.InvalidateUser, f.person, false
		if random.IntN(2) == 0 {
			o.in.Action = tokentest.SetPassword
		}
	}
	if wide := o.in.Action >= tokentest.InvalidateUser; wide && !slices.Contains(c.persons, f.person) {
		o.in.Action = tokentest.Authenticate
	}
	if o.in.Action == tokentest.Refresh && !c.load.config.Calm && random.IntN(25) == 0 {
		o.patience = time.Duration(random.IntN(int(5 * time.Millisecond)))
	}
}

// enrolled adds a person who was made, or gives the name up: a request that was lost
// may still set the password, and so end what the user got since.
func (c *crowd) enrolled(p *person, made bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.making--
	if made {
		c.persons = append(c.persons, p)
	}
}

// begun puts a new family to use. Half of the life of its first token is left to others.
func (c *crowd) begun(number int, p *person, lifetime time.Duration, random *rand.Rand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.families = append(c.families, &family{
		number: number, person: p, quota: 15 + random.IntN(30), until: c.load.now() + min(maxAge, lifetime/2),
	})
}

// lost notes that the outcome of an operation is not known. If it concerns a user, it may
// end whatever that user gets, at any time: nobody logs in as that user any more.
func (c *crowd) lost(in tokentest.Input) {
	wide := in.Action >= tokentest.InvalidateUser
	c.eachOf(in, func(f *family) { f.unknown++ })
	if wide {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.persons = slices.DeleteFunc(c.persons, func(p *person) bool { return p.name == in.User })
	}
}

// ended notes that nothing is left of a family, or of all of a user's.
func (c *crowd) ended(in tokentest.Input) {
	c.eachOf(in, func(f *family) { f.quota = min(f.quota, afterlife) })
}

// eachOf visits the families that an operation concerns.
func (c *crowd) eachOf(in tokentest.Input, visit func(*family)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wide := in.Action >= tokentest.InvalidateUser
	for _, f := range c.families {
		if (wide && f.person.name == in.User) || (!wide && f.number == in.Family) {
			visit(f)
		}
	}
}

// touched returns the families that an operation concerns.
func (c *crowd) touched(in tokentest.Input) (numbers []int) {
	c.eachOf(in, func(f *family) { numbers = append(numbers, f.number) })
	return numbers
}

// numbers returns all families in use.
func (c *crowd) numbers() (numbers []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.families {
		numbers = append(numbers, f.number)
	}
	return numbers
}
