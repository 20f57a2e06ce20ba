package httpapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"time"
)

// What GET / says of itself. Clients read the version to know what the server can
// do, and some refuse another tagline.
const (
	elasticsearchVersion = "8.19.0"
	tagline              = "You Know, for Search"
)

// Actions of the cluster's endpoints.
const (
	actionMain   = "cluster:monitor/main"
	actionHealth = "cluster:monitor/health"
)

// pollInterval is how often a caller that waits for a status makes us look.
const pollInterval = 100 * time.Millisecond

// getMain answers GET and HEAD of the root, by which clients know Elasticsearch.
func (s *Server) getMain(_ context.Context, x *exchange) (response, error) {
	if err := s.authorize(x, actionMain); err != nil {
		return response{}, err
	}
	about := s.cluster.About()
	clusterUUID := "_na_" // Elasticsearch's word before the cluster is formed
	if about.ClusterID != [16]byte{} {
		clusterUUID = base64.RawURLEncoding.EncodeToString(about.ClusterID[:])
	}
	dst := append(x.scratch[:0], `{"name":`...)
	dst = appendString(dst, about.NodeName)
	dst = append(dst, `,"cluster_name":`...)
	dst = appendString(dst, about.ClusterName)
	dst = append(dst, `,"cluster_uuid":`...)
	dst = appendString(dst, clusterUUID)
	dst = append(dst, `,"version":{"number":"`+elasticsearchVersion+`","build_flavor":"default","build_type":"tar","build_hash":`...)
	dst = appendString(dst, s.version)
	x.scratch = append(dst, `,"build_date":"unknown","build_snapshot":false,"lucene_version":"9.12.2",`+
		`"minimum_wire_compatibility_version":"7.17.0","minimum_index_compatibility_version":"7.0.0"},`+
		`"tagline":"`+tagline+`"}`...)
	return response{status: http.StatusOK, body: x.scratch}, nil
}

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

// healthParams are Elasticsearch's. Those about shards are true at once: there are
// none.
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
	health, timedOut := s.waitHealthy(ctx, wanted, patience)
	code := http.StatusOK
	if timedOut && !lenient {
		code = http.StatusRequestTimeout
	}
	x.scratch = appendHealth(x.scratch[:0], s.cluster.About().ClusterName, health, timedOut)
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

// waitHealthy looks until the status is good enough or the patience ends, and at
// least once.
func (s *Server) waitHealthy(ctx context.Context, wanted status, patience time.Duration) (h Health, timedOut bool) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	h = s.cluster.Health(ctx)
	for statusOf(h) > wanted {
		if pause(waiting, pollInterval); waiting.Err() != nil {
			return h, true
		}
		h = s.cluster.Health(waiting)
	}
	return h, false
}

// appendHealth appends Elasticsearch's form. Every member holds all data; shards
// there are none.
func appendHealth(dst []byte, clusterName string, h Health, timedOut bool) []byte {
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
	return append(dst, `,"active_primary_shards":0,"active_shards":0,"relocating_shards":0,"initializing_shards":0,`+
		`"unassigned_shards":0,"unassigned_primary_shards":0,"delayed_unassigned_shards":0,"number_of_pending_tasks":0,`+
		`"number_of_in_flight_fetch":0,"task_max_waiting_in_queue_millis":0,"active_shards_percent_as_number":100.0}`...)
}

// getLive says that the process serves requests, whatever the cluster does.
func (*Server) getLive(_ context.Context, x *exchange) (response, error) {
	x.scratch = append(x.scratch[:0], `{"live":true}`...)
	return response{status: http.StatusOK, body: x.scratch}, nil
}

// getReady says whether a load balancer should send requests here.
func (s *Server) getReady(_ context.Context, x *exchange) (response, error) {
	reasons := s.cluster.NotReady()
	if len(reasons) == 0 {
		x.scratch = append(x.scratch[:0], `{"ready":true}`...)
		return response{status: http.StatusOK, body: x.scratch}, nil
	}
	dst := append(x.scratch[:0], `{"ready":false,"reasons":`...)
	x.scratch = append(appendStrings(dst, reasons), '}')
	return response{status: http.StatusServiceUnavailable, body: x.scratch, retry: true}, nil
}
