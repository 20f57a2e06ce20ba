package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"jeton/scripts/lab/load"
)

// curves are the figures of each second.
func curves(r *Run, y float64, scale func(time.Time) float64) []curve {
	answered := func(s *load.Second) float64 { return float64(s.All.OK + s.All.Refused) }
	unavailable := func(s *load.Second) float64 { return float64(s.All.Unavailable) }
	failed := func(s *load.Second) float64 { return float64(s.All.Failed) }
	drawn := []curve{
		// In the end all tokens are asked about at once; that must not make the rest small.
		linear(r, curve{Name: "answers", Unit: "a second"}, y, scale, 0.97, []string{"answered"}, answered),
		linear(r, curve{Name: "no answer", Unit: "a second"}, y+curveHeight+curveGap, scale, 1, []string{"unavailable", "failed"}, unavailable, failed),
		logarithmic(r, curve{Name: "p99", Unit: "of answers"}, y+2*(curveHeight+curveGap), scale),
	}
	return drawn
}

// linear draws values from zero to the largest, but for a share that may stick out.
func linear(r *Run, c curve, y float64, scale func(time.Time) float64, share float64, classes []string, values ...func(*load.Second) float64) curve {
	top := 1.0
	for _, value := range values {
		all := make([]float64, len(r.Load.Seconds))
		for i := range r.Load.Seconds {
			all[i] = value(&r.Load.Seconds[i])
		}
		slices.Sort(all)
		if len(all) > 0 {
			top = max(top, all[int(share*float64(len(all)-1))])
		}
	}
	top = round(top)
	c.Y = y
	c.Levels = []level{{y, count(int(top))}, {y + curveHeight, "0"}}
	for i, value := range values {
		height := func(s *load.Second) (float64, bool) { return y + curveHeight*(1-min(value(s)/top, 1)), true }
		c.Lines = append(c.Lines, trace(r, classes[i], y+curveHeight, scale, height))
	}
	return c
}

// logarithmic draws the p99 from a millisecond to ten seconds.
func logarithmic(r *Run, c curve, y float64, scale func(time.Time) float64) curve {
	const decades = 4
	at := func(d time.Duration) float64 {
		exponent := math.Log10(max(d.Seconds(), 0.001)) + 3
		return y + curveHeight*(1-min(exponent, decades)/decades)
	}
	c.Y = y
	for _, d := range []time.Duration{10 * time.Second, time.Second, 100 * time.Millisecond, 10 * time.Millisecond, time.Millisecond} {
		text := fmt.Sprintf("%d ms", d.Milliseconds())
		if d >= time.Second {
			text = fmt.Sprintf("%d s", int(d.Seconds()))
		}
		c.Levels = append(c.Levels, level{at(d), text})
	}
	height := func(s *load.Second) (float64, bool) { return at(s.All.P99), s.All.OK+s.All.Refused > 0 }
	c.Lines = []line{trace(r, "p99", 0, scale, height)}
	return c
}

// trace draws a line through the seconds that have a value, and the area down to the
// bottom unless that is zero.
func trace(r *Run, class string, bottom float64, scale func(time.Time) float64, height func(*load.Second) (float64, bool)) line {
	var path, area strings.Builder
	pen, first, last := "M", 0.0, 0.0
	for i := range r.Load.Seconds {
		y, known := height(&r.Load.Seconds[i])
		x := scale(r.Load.Began.Add(time.Duration(i)*time.Second + time.Second/2))
		if !known {
			pen = "M"
			continue
		}
		fmt.Fprintf(&path, "%s%s %s", pen, px(x), px(y))
		if area.Len() == 0 {
			first = x
			fmt.Fprintf(&area, "M%s %s", px(x), px(bottom))
		}
		fmt.Fprintf(&area, "L%s %s", px(x), px(y))
		pen, last = "L", x
	}
	l := line{Class: class, Path: path.String()}
	if bottom > 0 && area.Len() > 0 {
		l.Area = fmt.Sprintf("%sL%s %sL%s %sZ", area.String(), px(last), px(bottom), px(first), px(bottom))
	}
	return l
}

// round is the next round number.
func round(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 1.5, 2, 3, 4, 5, 6, 8, 10} {
		if rounded := step * unit; rounded >= v {
			return math.Ceil(rounded)
		}
	}
	return v
}
