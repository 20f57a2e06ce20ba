package main

import (
	"fmt"
	"io"
	"time"
)

// progressInterval is how often a person is told how far long work has come.
const progressInterval = 200 * time.Millisecond

// progress tells a person at a terminal how far long work has come, and nobody else.
type progress struct {
	out   io.Writer // nil: nobody watches
	what  string
	bytes int64
	total int64 // 0: not known
	told  time.Time
}

func newProgress(out io.Writer, what string) *progress {
	p := &progress{what: what, told: time.Now()} // nothing is said of what is soon done
	if isTerminal(out) {
		p.out = out
	}
	return p
}

func (p *progress) set(bytes, total int64) {
	p.bytes, p.total = bytes, total
	if p.out == nil || time.Since(p.told) < progressInterval {
		return
	}
	p.told = time.Now()
	share := ""
	if total > 0 {
		share = fmt.Sprintf(" of %d (%d %%)", total>>20, 100*bytes/total)
	}
	fmt.Fprintf(p.out, "\r%s %d%s MiB ", p.what, bytes>>20, share)
}

// done leaves an empty line.
func (p *progress) done() {
	if p.out != nil {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

func (p *progress) reader(from io.Reader, total int64) io.Reader {
	return &watched{progress: p, reader: from, total: total}
}

func (p *progress) writer(to io.Writer) io.Writer { return &watched{progress: p, writer: to} }

// watched counts what goes through.
type watched struct {
	progress *progress
	reader   io.Reader
	writer   io.Writer
	total    int64
}

// Read implements io.Reader.
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.reader.Read(b)
	w.progress.set(w.progress.bytes+int64(n), w.total)
	return n, err //nolint:wrapcheck // it is a reader, io.EOF included
}

// Write implements io.Writer.
func (w *watched) Write(b []byte) (int, error) {
	n, err := w.writer.Write(b)
	w.progress.set(w.progress.bytes+int64(n), w.total)
	return n, err //nolint:wrapcheck // says what could not be written
}
