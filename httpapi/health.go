package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const actionHealth = "cluster:monitor/health"

// pollInterval is how often a caller that waits for a status makes us look.
const pollInterval = 100 * time.Millisecond

// status is the cluster's health in one word; worse is larger.
type status int

const (
	green  status = iota // every member answers, and there is a leader
	yellow               // there is a leader
	red                  // there is none
)

var statusNames = []string{"green", "yellow", "red"}

func statusOf(h Health) status {
	switch {
	case !h.Leader:
		return red
	case h.Answering < h.Members:
		return yellow
	default:
		return green
	}
}

// healthParams are Elasticsearch's. Those about shards and events are true at once:
// there are none.
var healthParams = []string{
	"wait_for_status", "timeout", "master_timeout", "local", "level", "expand_wildcards",
	"wait_for_no_relocating_shards", "wait_for_no_initializing_shards", "wait_for_active_shards",
	"wait_for_nodes", "wait_for_events", "return_200_for_cluster_health_timeout",
}

// getHealth tells whether the cluster works, and waits for a status if asked.
func (s *Server) getHealth(ctx context.Context, x *exchange) (response, error) {
	wanted, err := wantedStatus(x.query.Get("wait_for_status"))
	if err != nil {
		return response{}, err
	}
	enough, err := wantedNodes(x.query.Get("wait_for_nodes"))
	if err != nil {
		return response{}, err
	}
	patience, err := timeValue(x.query, "timeout", s.timeout)
	if err != nil {
		return response{}, err
	}
	lenient, err := boolean(x.query, "return_200_for_cluster_health_timeout", false)
	if err != nil {
		return response{}, err
	}
	if err := s.authorize(x, actionHealth); err != nil {
		return response{}, err
	}
	health, timedOut := s.waitHealthy(ctx, patience, func(h Health) bool {
		return statusOf(h) <= wanted && enough(h.Answering)
	})
	code := http.StatusOK
	if timedOut && !lenient {
		code = http.StatusRequestTimeout
	}
	x.scratch = appendHealth(x.scratch[:0], s.cluster.About().ClusterName, health, timedOut, x.flagged("human", false))
	return response{status: code, body: x.scratch}, nil
}

func wantedStatus(name string) (status, error) {
	if name == "" {
		return red, nil
	}
	for i, one := range statusNames {
		if one == name {
			return status(i), nil
		}
	}
	return red, &argumentError{reason: "unknown cluster health status [" + echo(name) + "]"}
}

// comparisons are the forms of wait_for_nodes, longest first: a number alone asks for
// just so many.
var comparisons = []struct {
	prefix, suffix string
	holds          func(have, want int) bool
}{
	{">=", "", func(have, want int) bool { return have >= want }},
	{"<=", "", func(have, want int) bool { return have <= want }},
	{">", "", func(have, want int) bool { return have > want }},
	{"<", "", func(have, want int) bool { return have < want }},
	{"ge(", ")", func(have, want int) bool { return have >= want }},
	{"le(", ")", func(have, want int) bool { return have <= want }},
	{"gt(", ")", func(have, want int) bool { return have > want }},
	{"lt(", ")", func(have, want int) bool { return have < want }},
	{"", "", func(have, want int) bool { return have == want }},
}

// wantedNodes reads wait_for_nodes.
func wantedNodes(text string) (enough func(have int) bool, err error) {
	if text == "" {
		return func(int) bool { return true }, nil
	}
	for _, c := range comparisons {
		rest, found := strings.CutPrefix(text, c.prefix)
		if !found || !strings.HasSuffix(rest, c.suffix) {
			continue
		}
		if want, ok := small(strings.TrimSuffix(rest, c.suffix)); ok {
			return func(have int) bool { return c.holds(have, want) }, nil
		}
	}
	return nil, &argumentError{reason: "failed to parse [wait_for_nodes] with value [" + echo(text) + "]"}
}

// waitHealthy looks until the cluster is as wanted or the patience ends, and at least
// once.
func (s *Server) waitHealthy(ctx context.Context, patience time.Duration, wanted func(Health) bool) (h Health, timedOut bool) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	h = s.cluster.Health(ctx)
	for !wanted(h) {
		if pause(waiting, pollInterval); waiting.Err() != nil {
			return h, true
		}
		h = s.cluster.Health(waiting)
	}
	return h, false
}

// appendHealth appends Elasticsearch's form. Every member holds all data; shards
// there are none.
func appendHealth(dst []byte, clusterName string, h Health, timedOut, human bool) []byte {
	dst = append(dst, `{"cluster_name":`...)
	dst = appendString(dst, clusterName)
	dst = append(dst, `,"status":`...)
	dst = appendString(dst, statusNames[statusOf(h)])
	dst = append(dst, `,"timed_out":`...)
	dst = strconv.AppendBool(dst, timedOut)
	dst = append(dst, `,"number_of_nodes":`...)
	dst = strconv.AppendInt(dst, int64(h.Answering), 10)
	dst = append(dst, `,"number_of_data_nodes":`...)
	dst = strconv.AppendInt(dst, int64(h.Answering), 10)
	dst = append(dst, `,"active_primary_shards":0,"active_shards":0,"relocating_shards":0,"initializing_shards":0,`+
		`"unassigned_shards":0,"unassigned_primary_shards":0,"delayed_unassigned_shards":0,"number_of_pending_tasks":0,`+
		`"number_of_in_flight_fetch":0,`...)
	if human {
		dst = append(dst, `"task_max_waiting_in_queue":"0s",`...)
	}
	dst = append(dst, `"task_max_waiting_in_queue_millis":0,`...)
	if human {
		dst = append(dst, `"active_shards_percent":"100.0%",`...)
	}
	return append(dst, `"active_shards_percent_as_number":100.0}`...)
}
