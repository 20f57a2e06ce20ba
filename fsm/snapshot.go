package fsm

import (
	"encoding/binary"
	"io"
	"slices"
)

// view is the state at one moment. Later changes of the state leave it alone:
// pages that it shares are copied before they are written to. So it may be written
// to a file while entries are applied, until it is released.
type view struct {
	summary summary
	realms  []*[pageSlots]realm
	owners  []*[pageSlots]owner
	held    []*[pageSlots]holder
	records []*[pageSlots]pair
	due     []bucket
	users   []*[pageSlots]*User
	roles   []*[pageSlots]*Role
	done    fifo[operation]
	answers fifo[answer]
	leases  leases
	staged  [][]byte
}

// snapshot costs a copy of the addresses of all pages.
func (s *State) snapshot() *view {
	s.snapshots++
	h := s.pairs.holders
	return &view{
		summary: s.summary(),
		realms:  h.realms.snapshot(),
		owners:  h.owners.snapshot(),
		held:    h.held.snapshot(),
		records: s.pairs.records.snapshot(),
		due:     slices.Clone(s.pairs.due),
		users:   s.users.table.snapshot(),
		roles:   s.roles.table.snapshot(),
		done:    s.operations.done.snapshot(),
		answers: s.operations.answers.snapshot(),
		leases:  s.leases,
		staged:  s.staged.chunks,
	}
}

// release says that a view is not used any more. When none is left, pages are
// written to where they are again.
func (s *State) release() {
	s.snapshots--
	if s.snapshots > 0 {
		return
	}
	h := s.pairs.holders
	h.realms.unshare()
	h.owners.unshare()
	h.held.unshare()
	s.pairs.records.unshare()
	s.users.table.unshare()
	s.roles.table.unshare()
}

// maxItem bounds an item: a user or identity comes from one command.
const maxItem = MaxCommandBytes + 2*MaxVerifierBytes

// write writes the view. The bytes follow from the log alone: two replicas at the
// same index write the same.
func (v *view) write(to io.Writer) error {
	w := newFrameWriter(to)
	w.item(sectionSummary, v.summary.code)
	writeTable(w, sectionRealms, v.realms, (*realm).used, (*realm).code)
	writeTable(w, sectionOwners, v.owners, (*owner).used, (*owner).code)
	writeTable(w, sectionHolders, v.held, (*holder).used, (*holder).code)
	for n, page := range v.records {
		if page != nil {
			w.pairs(n, page)
		}
	}
	for _, b := range v.due {
		w.done(b.append(w.room(sectionDue, bucketSize)))
	}
	writeTable(w, sectionUsers, v.users, isSet[User], codeUser)
	writeTable(w, sectionRoles, v.roles, isSet[Role], codeRole)
	for n := v.done.start; n < v.done.end; n++ {
		w.done(append(w.room(sectionOperations, len(operation{})), v.done.at(n)[:]...))
	}
	for n := v.answers.start; n < v.answers.end; n++ {
		w.done(append(w.room(sectionAnswers, len(answer{})), v.answers.at(n)[:]...))
	}
	for i := range v.leases {
		w.item(sectionLeases, v.leases[i].code)
	}
	for i := range v.staged {
		w.item(sectionStaged, func(x *codec) { x.chunk(&v.staged[i]) })
	}
	return w.end()
}

// item writes one item.
func (w *frameWriter) item(s section, code func(*codec)) {
	x := codec{buf: w.room(s, maxItem)}
	code(&x)
	w.done(x.buf)
}

// writeTable writes the used slots of a table, each after its ref.
func writeTable[T any](w *frameWriter, s section, pages []*[pageSlots]T, used func(*T) bool, code func(*T, *codec)) {
	for n, page := range pages {
		if page == nil {
			continue
		}
		for slot := range page {
			if v := &page[slot]; used(v) {
				r := slotRef(n, slot)
				w.item(s, func(x *codec) {
					x.ref(&r)
					code(v, x)
				})
			}
		}
	}
}

// runHead is the ref of the first pair of a run (4) and their number (4). The pairs
// follow, which are in consecutive slots.
const runHead = 8

// pairs writes a page: as one run if it is full.
func (w *frameWriter) pairs(n int, page *[pageSlots]pair) {
	for slot := 0; slot < pageSlots; slot++ {
		first := slot
		for slot < pageSlots && page[slot].used() {
			slot++
		}
		if slot == first {
			continue
		}
		b := w.room(sectionPairs, runHead+(slot-first)*pairSize)
		b = binary.LittleEndian.AppendUint32(b, uint32(slotRef(n, first)))
		b = binary.LittleEndian.AppendUint32(b, uint32(slot-first)) //nolint:gosec // at most pageSlots
		for i := first; i < slot; i++ {
			b = append(b, page[i][:]...)
		}
		w.done(b)
	}
}

const bucketSize = 8

func (b bucket) append(to []byte) []byte {
	to = binary.LittleEndian.AppendUint32(to, b.number)
	return binary.LittleEndian.AppendUint32(to, uint32(b.head))
}

func (x *codec) ref(r *ref) {
	n := uint64(*r)
	x.uint(&n, maxPages*pageSlots)
	if x.reading {
		*r = ref(n) //nolint:gosec // within the limit
	}
}

func (r *realm) used() bool  { return r.head != 0 }
func (o *owner) used() bool  { return o.name != nil }
func (h *holder) used() bool { return h.held != nil }
func (p *pair) used() bool   { return p.access() != Digest{} }

func isSet[T any](v **T) bool { return *v != nil }

// code leaves out what follows from the owners.
func (r *realm) code(x *codec) { text(x, &r.name, MaxNameBytes) }

// code leaves out what follows from the holders and pairs.
func (o *owner) code(x *codec) {
	if x.reading {
		o.name = &ownerName{}
	}
	text(x, &o.name.username, MaxNameBytes)
	x.ref(&o.realm)
	x.ref(&o.next)
	x.ref(&o.before)
}

// code leaves out what follows from the pairs.
func (h *holder) code(x *codec) {
	if x.reading {
		h.held = &held{}
	}
	x.ref(&h.owner)
	x.identity(&h.Identity)
	x.client(&h.Client)
}

func codeUser(v **User, x *codec) {
	if x.reading {
		*v = &User{}
	}
	u := *v
	x.replicatedUser(&u.Realm, &u.Username)
	text(x, &u.Verifier, MaxVerifierBytes)
	texts(x, &u.Roles)
	x.optionalText(&u.FullName)
	x.optionalText(&u.Email)
	x.document(&u.Metadata)
	x.flag(&u.Enabled)
	x.uint((*uint64)(&u.Generation), 1<<64-1)
}

func codeRole(v **Role, x *codec) {
	if x.reading {
		*v = &Role{}
	}
	x.role(*v)
}
