package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/bits"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
)

// The layout of a bbolt file (version 2), in the machine's own byte order:
//
//	page      id u64, flags u16, count u16, overflow u32, elements, keys and values
//	leaf      flags u32, position u32, key size u32, value size u32
//	branch    position u32, key size u32, page u64
//	bucket    root page u64 (0: the page follows), sequence u64
//	meta      magic u32, version u32, page size u32, flags u32, bucket, freelist u64, end u64, transaction u64, checksum u64
const (
	pageHeaderBytes = 16
	elementBytes    = 16
	bucketBytes     = 16
	metaBytes       = 64
	branchPage      = 1
	leafPage        = 2
	metaPage        = 4
	bucketElement   = 1
	boltMagic       = 0xED0CDAED
	boltVersion     = 2
	mostPageBytes   = 64 << 10
)

var native = binary.NativeEndian

// errLayout is how most damage to a page shows.
var errLayout = errors.New("is not as it was written")

// Verify reads a log file, which nobody may write to meanwhile. It calls visit, which may be nil, with
// each entry in order, and returns the values of the stable store. If anything is not as it was
// written, it returns a [*DamageError] that calls the file by that name.
//
// It does not map the file and trusts nothing in it, so that no damage can make it crash, as
// it could bbolt.
func Verify(name string, file io.ReaderAt, size int64, visit func(*raft.Log)) (values map[string][]byte, err error) {
	h, _, err := verify(name, file, size, visit)
	if err != nil {
		return nil, err
	}
	return h.values, nil
}

// verify also tells whether there are entries that were taken out of the log and not yet out
// of the file.
func verify(name string, file io.ReaderAt, size int64, visit func(*raft.Log)) (h *head, leftovers bool, err error) {
	c := &chain{visit: visit}
	err = c.follow(file, size)
	if failed := (*readError)(nil); errors.As(err, &failed) {
		return nil, false, fmt.Errorf("read %s: %w", name, failed.err)
	}
	if err != nil {
		return nil, false, &DamageError{File: name, What: err.Error()}
	}
	return c.head, c.leftovers, nil
}

// readError is a disk's own refusal to read.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// The buckets of raft-boltdb. The values of the stable store are in the head instead of the
// second, so that they change in one transaction with it.
const (
	entryBucket = "logs"
	valueBucket = "conf"
)

// chain follows the entries from the first to the last, and compares them with what the
// head says should be.
type chain struct {
	head      *head
	last      uint64
	sum       uint32
	leftovers bool
	visit     func(*raft.Log)
}

func (c *chain) follow(file io.ReaderAt, size int64) error {
	t := &tree{file: file, size: size, seen: map[uint64]bool{}}
	root, err := t.metas()
	if err != nil {
		return err
	}
	buckets := map[string][]byte{}
	if err := t.walk(root, bucketElement, func(name, value []byte) error {
		buckets[string(name)] = bytes.Clone(value)
		return nil
	}); err != nil {
		return err
	}
	if err := t.bucket(buckets, entryBucket, c.link); err != nil {
		return err
	}
	if err := t.bucket(buckets, valueBucket, func(_, _ []byte) error { return errLayout }); err != nil {
		return err
	}
	if c.head == nil || len(buckets) != 2 {
		return errors.New("something is missing")
	}
	if c.last != c.head.last || c.sum != c.head.sum {
		return fmt.Errorf("its entries end with %d instead of %d", c.last, c.head.last)
	}
	return nil
}

// link looks at the next entry, the first of which is the head.
func (c *chain) link(key, value []byte) error {
	var entry raft.Log
	if err := codec.NewDecoderBytes(value, &codec.MsgpackHandle{}).Decode(&entry); err != nil {
		return fmt.Errorf("the entry after %d: %w", c.last, err)
	}
	if !bytes.Equal(key, binary.BigEndian.AppendUint64(nil, entry.Index)) {
		return fmt.Errorf("the entry after %d has the place of another", c.last)
	}
	if c.head == nil {
		if entry.Index != 0 {
			return errors.New("its head is missing")
		}
		var err error
		c.head, err = decodeHead(entry.Data)
		return err
	}
	if !c.head.holds(entry.Index) {
		c.leftovers = true
		return nil
	}
	before, sum, err := withoutSeal(&entry)
	if err != nil {
		return fmt.Errorf("the entry after %d: %w", c.last, err)
	}
	next := c.last + 1
	if c.last == 0 {
		next = c.head.first
	}
	if entry.Index != next || c.last != 0 && before != c.sum {
		return fmt.Errorf("the entry after %d is not the next", c.last)
	}
	c.last, c.sum = entry.Index, sum
	if c.visit != nil {
		c.visit(&entry)
	}
	return nil
}

// tree is the file as bbolt's pages.
type tree struct {
	file      io.ReaderAt
	size      int64
	pageBytes uint64
	end       uint64          // the first page that was never used
	seen      map[uint64]bool // pages
}

func (t *tree) read(offset int64, b []byte) error {
	if offset+int64(len(b)) > t.size {
		return fmt.Errorf("it ends after %d bytes", t.size)
	}
	if _, err := t.file.ReadAt(b, offset); err != nil && !errors.Is(err, io.EOF) {
		return &readError{err}
	}
	return nil
}

// metas returns the root's page by the newer of the two meta pages.
func (t *tree) metas() (root uint64, err error) {
	var newest uint64
	for i, at := int64(0), int64(0); i < 2; i, at = i+1, int64(t.pageBytes) { //nolint:gosec // at most mostPageBytes
		page := make([]byte, pageHeaderBytes+metaBytes)
		if err := t.read(at, page); err != nil {
			return 0, err
		}
		meta := page[pageHeaderBytes:]
		sum := fnv.New64a()
		_, _ = sum.Write(meta[:metaBytes-8])
		pageBytes, transaction := uint64(native.Uint32(meta[8:])), native.Uint64(meta[48:])
		// The two take turns.
		misplaced := native.Uint64(page) != uint64(i) || native.Uint16(page[8:]) != metaPage || transaction%2 != uint64(i)
		if misplaced || i > 0 && transaction != newest+1 && transaction+1 != newest {
			return 0, fmt.Errorf("meta page %d %w", i, errLayout)
		}
		if native.Uint32(meta) != boltMagic || native.Uint32(meta[4:]) != boltVersion || native.Uint64(meta[metaBytes-8:]) != sum.Sum64() ||
			bits.OnesCount64(pageBytes) != 1 || pageBytes > mostPageBytes || i > 0 && pageBytes != t.pageBytes {
			return 0, fmt.Errorf("meta page %d %w", i, errLayout)
		}
		t.pageBytes = pageBytes
		if i == 0 || transaction > newest {
			newest, root, t.end = transaction, native.Uint64(meta[16:]), native.Uint64(meta[40:])
		}
	}
	if uint64(t.size)/t.pageBytes < t.end { //nolint:gosec // a size is not negative
		return 0, fmt.Errorf("it was cut off after %d bytes", t.size)
	}
	return root, nil
}

// bucket visits all keys of a bucket.
func (t *tree) bucket(buckets map[string][]byte, name string, visit func(key, value []byte) error) error {
	value, ok := buckets[name]
	if !ok || len(value) < bucketBytes || native.Uint64(value[8:]) != 0 {
		return fmt.Errorf("bucket %s %w", name, errLayout)
	}
	if root := native.Uint64(value); root != 0 {
		return t.walk(root, 0, visit)
	}
	inline := value[bucketBytes:]
	elements, used, err := parse(inline, 0)
	if err != nil || used != len(inline) {
		return fmt.Errorf("bucket %s %w", name, errLayout)
	}
	return t.elements(0, elements, 0, visit)
}

// walk visits all keys below a page, in order; each must have these flags.
func (t *tree) walk(id uint64, flags uint32, visit func(key, value []byte) error) error {
	page, err := t.page(id)
	if err != nil {
		return err
	}
	elements, used, err := parse(page, id)
	if err != nil || len(elements) == 0 || used <= len(page)-int(t.pageBytes) { //nolint:gosec // at most mostPageBytes
		return fmt.Errorf("page %d %w", id, errLayout)
	}
	return t.elements(id, elements, flags, visit)
}

// page reads a page with its overflow.
func (t *tree) page(id uint64) ([]byte, error) {
	if id < 2 || id >= t.end {
		return nil, fmt.Errorf("page %d does not exist", id)
	}
	header := make([]byte, pageHeaderBytes)
	if err := t.read(int64(id*t.pageBytes), header); err != nil { //nolint:gosec // below size
		return nil, err
	}
	count := 1 + uint64(native.Uint32(header[12:]))
	if count > t.end-id {
		return nil, fmt.Errorf("page %d %w", id, errLayout)
	}
	for i := range count {
		if t.seen[id+i] {
			return nil, fmt.Errorf("page %d is used twice", id+i)
		}
		t.seen[id+i] = true
	}
	page := make([]byte, count*t.pageBytes)
	return page, t.read(int64(id*t.pageBytes), page) //nolint:gosec // below size
}

func (t *tree) elements(id uint64, elements []element, flags uint32, visit func(key, value []byte) error) error {
	for i, e := range elements {
		if i > 0 && bytes.Compare(elements[i-1].key, e.key) >= 0 || e.page == 0 && e.flags != flags {
			return fmt.Errorf("page %d %w", id, errLayout)
		}
		if e.page == 0 {
			if err := visit(e.key, e.value); err != nil {
				return fmt.Errorf("page %d: %w", id, err)
			}
			continue
		}
		// Whoever looks for a key goes by those of the branch.
		within := func(key, value []byte) error {
			if bytes.Compare(key, e.key) < 0 || i+1 < len(elements) && bytes.Compare(key, elements[i+1].key) >= 0 {
				return fmt.Errorf("in page %d %w", id, errLayout)
			}
			return visit(key, value)
		}
		if err := t.walk(e.page, flags, within); err != nil {
			return err
		}
	}
	return nil
}

// element is one of a leaf, or, with a page, of a branch.
type element struct {
	flags      uint32
	key, value []byte
	page       uint64
}

// parse takes a page apart, and tells how much of it is used. bbolt writes what belongs
// to the elements one after the other, so every field has one right value.
func parse(page []byte, id uint64) (elements []element, used int, err error) {
	if len(page) < pageHeaderBytes || native.Uint64(page) != id {
		return nil, 0, errLayout
	}
	kind, count := native.Uint16(page[8:]), int(native.Uint16(page[10:]))
	used = pageHeaderBytes + count*elementBytes
	if kind != leafPage && kind != branchPage || used > len(page) {
		return nil, 0, errLayout
	}
	elements = make([]element, count)
	for i := range elements {
		start := pageHeaderBytes + i*elementBytes
		e := &elements[i]
		a, b, c, d := native.Uint32(page[start:]), native.Uint32(page[start+4:]), native.Uint32(page[start+8:]), native.Uint32(page[start+12:])
		position, keySize, valueSize := b, int64(c), int64(d)
		if e.flags = a; kind == branchPage {
			e.flags, e.page = 0, native.Uint64(page[start+8:])
			position, keySize, valueSize = a, int64(b), 0
			if e.page == 0 {
				return nil, 0, errLayout
			}
		}
		if int64(position) != int64(used-start) || keySize == 0 || keySize+valueSize > int64(len(page)-used) {
			return nil, 0, errLayout
		}
		value := used + int(keySize)
		end := value + int(valueSize)
		e.key, e.value = page[used:value], page[value:end]
		used = end
	}
	return elements, used, nil
}
