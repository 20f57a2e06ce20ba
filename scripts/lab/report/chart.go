package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Measures of the picture, in pixels.
const (
	chartWidth   = 1080 // of the whole run at a glance
	pixelsSecond = 26   // of the run in detail: names of faults fit
	widest       = 60_000
	axisHeight   = 22
	faultHeight  = 14
	faultRows    = 2 // that overlap
	bandHeight   = 12
	laneGap      = 14
	curveHeight  = 72
	curveGap     = 22
	letterWidth  = 6.2
	tickRoom     = 20
)

// view is what the page shows.
type view struct {
	*Run
	Length   time.Duration
	Faults   []Fault
	Made     int
	Slowest  time.Duration // recovery, for the bars in the table
	Chapters []Event       // faults, in order
	Overview chart
	Detail   *chart // nil: the overview is detail enough
}

func newView(r *Run) *view {
	v := &view{
		Run: r, Length: r.Ended.Sub(r.Began).Round(time.Second), Faults: r.Faults(),
		Overview: newChart("overview", r, chartWidth),
	}
	for _, f := range v.Faults {
		v.Made += f.Times
		v.Slowest = max(v.Slowest, f.Max)
	}
	for _, e := range r.Events {
		if e.Fault != "" {
			v.Chapters = append(v.Chapters, e)
		}
	}
	if wide := min(widest, r.Ended.Sub(r.Began).Seconds()*pixelsSecond); wide > 1.5*chartWidth {
		detail := newChart("detail", r, wide)
		v.Detail = &detail
	}
	return v
}

// Share is a recovery as a part of the slowest, in percent.
func (v *view) Share(d time.Duration) int {
	if v.Slowest == 0 || d == 0 {
		return 0
	}
	return max(1, int(100*d/v.Slowest))
}

// cellTable is one table of requests.
type cellTable struct {
	Title, What string
	Rows        []namedCell
}

// KindsTable has the requests by what was asked for.
func (v *view) KindsTable() cellTable {
	return cellTable{"Requests by kind", "kind", cells(v.Load.Kinds)}
}

// TargetsTable has them by who was asked.
func (v *view) TargetsTable() cellTable {
	return cellTable{"Requests by node", "node", cells(v.Load.Nodes)}
}

// chart is the timeline, laid out.
type chart struct {
	ID            string
	Width, Height float64
	Ticks         []tick
	Lanes         []lane
	Curves        []curve
	Marks         []mark // violations
	Bottom        float64
}

type (
	// tick is a moment on the axis.
	tick struct {
		X    float64
		Text string
	}
	// lane is a node, or all of them.
	lane struct {
		Name   string
		Y      float64 // of the faults
		BandY  float64 // of the states; zero: it has none
		Middle float64
		Blocks []block
		Bands  []block
	}
	// block is something that lasts.
	block struct {
		X, Y, Width float64
		Class       string
		Label       string // in it or beside it, where there is room
		Title       string // for who points at it, or reads with the ears
	}
	// curve is a figure over time.
	curve struct {
		Name, Unit string
		Y          float64 // its top
		Lines      []line
		Levels     []level
	}
	line struct{ Class, Path, Area string }
	// level is a value on a curve's axis.
	level struct {
		Y    float64
		Text string
	}
	mark struct {
		X     float64
		Title string
	}
)

// Top is where the lanes begin.
func (chart) Top() float64 { return axisHeight - 4 }

// FaultHeight is the height of a fault.
func (chart) FaultHeight() int { return faultHeight - 2 }

// BandHeight is the height of a lane's states.
func (chart) BandHeight() int { return bandHeight }

// Label is where a tick's text stands, Anchor how: the first and the last stay inside.
func (t tick) Label(width float64) float64 { return min(max(t.X, 2), width-2) }

// Anchor is SVG's word for it.
func (t tick) Anchor(width float64) string {
	switch {
	case t.X < tickRoom:
		return "start"
	case t.X > width-tickRoom:
		return "end"
	}
	return "middle"
}

// Start and Base are where a block's label begins.
func (b *block) Start() float64 {
	if b.Class == "by-fault" {
		return b.X + b.Width + 4
	}
	return b.X + 4
}

// Base is the line that the label's letters stand on.
func (b *block) Base() float64 { return b.Y + faultHeight - 4.5 }

// Second is where the second line of a curve's name stands.
func (c curve) Second() float64 { return c.Y + 16 }

// Floor is a curve's bottom.
func (c curve) Floor() float64 { return c.Y + curveHeight }

func newChart(id string, r *Run, width float64) chart {
	c := chart{ID: id, Width: width}
	length := max(r.Ended.Sub(r.Began), time.Second)
	scale := func(at time.Time) float64 { return width * float64(at.Sub(r.Began)) / float64(length) }
	c.Ticks = ticks(length, width)
	y := float64(axisHeight)
	for _, name := range append([]string{""}, r.Nodes...) {
		l := lane{Name: name, Y: y}
		l.Blocks = faultBlocks(r, name, y, scale)
		if name == "" {
			if len(l.Blocks) == 0 {
				continue
			}
			l.Name = "several"
			l.Middle = y + faultHeight*faultRows/2
			y += faultHeight*faultRows + laneGap
		} else {
			l.BandY = y + faultHeight*faultRows
			l.Bands = states(r, name, l.BandY, scale)
			l.Middle = l.BandY + bandHeight/2
			y += faultHeight*faultRows + bandHeight + laneGap
		}
		c.Lanes = append(c.Lanes, l)
	}
	for _, v := range r.Violations {
		c.Marks = append(c.Marks, mark{X: scale(v.At), Title: r.since(v.At) + " " + firstLine(v.What)})
	}
	y += curveGap / 2
	c.Curves = curves(r, y, scale)
	c.Bottom = y + float64(len(c.Curves))*(curveHeight+curveGap) - curveGap
	c.Height = c.Bottom + 6
	return c
}

// ticks are round moments that are not too close to each other.
func ticks(length time.Duration, width float64) (marks []tick) {
	const closest = 70
	steps := []int{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400}
	step := steps[len(steps)-1]
	for _, s := range steps {
		if width*float64(s)/length.Seconds() >= closest {
			step = s
			break
		}
	}
	for at := 0; float64(at) <= length.Seconds(); at += step {
		marks = append(marks, tick{X: width * float64(at) / length.Seconds(), Text: fmt.Sprintf("%d:%02d", at/60, at%60)})
	}
	return marks
}

// faultBlocks are the faults of a node, or those of more than one, in rows.
func faultBlocks(r *Run, node string, y float64, scale func(time.Time) float64) (blocks []block) {
	var ends [faultRows]float64 // of what is drawn in a row
	var last [faultRows]int     // one more than the place of its last block
	for _, e := range r.Events {
		if e.Fault == "" || (e.Node != node && (node != "" || slices.Contains(r.Nodes, e.Node))) {
			continue
		}
		until, took := e.Until, ""
		if until.IsZero() {
			until = r.Ended
		} else {
			took = ", " + span(until.Sub(e.At))
		}
		x := scale(e.At)
		row := 0
		for row < faultRows-1 && ends[row] > x {
			row++
		}
		b := block{X: x, Y: y + float64(row*faultHeight), Width: max(scale(until)-x, 2), Label: e.Fault}
		b.Title = strings.Join(strings.Fields(fmt.Sprintf("%s%s %s %s %s", r.since(e.At), took, e.Fault, e.Node, e.Text)), " ")
		if last[row] > 0 {
			blocks[last[row]-1].fit(x)
		}
		blocks = append(blocks, b)
		ends[row], last[row] = b.X+b.Width, len(blocks)
	}
	for _, place := range last {
		if place > 0 {
			blocks[place-1].fit(scale(r.Ended))
		}
	}
	return blocks
}

// fit puts a block's name into it or beside it, if there is room before what follows in
// its row.
func (b *block) fit(next float64) {
	length := letterWidth*float64(len(b.Label)) + 8
	switch {
	case b.Width >= length:
		b.Class = "on-fault"
	case b.X+b.Width+length <= next:
		b.Class = "by-fault"
	default:
		b.Label = ""
	}
}

// states are when a node was down, not ready, or led. In between it followed.
func states(r *Run, node string, y float64, scale func(time.Time) float64) (bands []block) {
	now, since := StateReady, r.Began
	show := func(until time.Time) {
		if now == StateReady || !until.After(since) {
			return
		}
		words := map[State]string{StateDown: "down", StateUnready: "not ready", StateLeads: "leader"}
		bands = append(bands, block{
			X: scale(since), Y: y, Width: max(scale(until)-scale(since), 1), Class: string(now),
			Title: fmt.Sprintf("%s %s, %s", r.since(since), words[now], span(until.Sub(since))),
		})
	}
	for i, e := range r.Events {
		next := now
		switch {
		case e.State == StateLeads && e.Node != node && now == StateLeads:
			next = StateReady
		case e.Node != node:
		case e.State == StateUp:
			next = StateUnready
		case e.State == StateReady && now == StateLeads: // and still does
		case e.State == StateUnready && now == StateDown, i == 0 && e.State == StateReady:
		case e.State != "":
			next = e.State
		}
		if next != now {
			show(e.At)
			now, since = next, e.At
		}
	}
	show(r.Ended)
	return bands
}

// px is a coordinate as SVG has it.
func px(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
