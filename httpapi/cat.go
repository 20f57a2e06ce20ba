package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const actionState = "cluster:monitor/state"

// catParams are Elasticsearch's. Those about units have nothing to be applied to.
var catParams = []string{
	"v", "h", "s", "help", "ts", "bytes", "size", "time", "local", "master_timeout", "full_id", "include_unloaded_segments",
}

// catRoutes are the tables for people.
func (s *Server) catRoutes(handle handle) {
	handle("/_cat", methods{http.MethodGet: {access: read, action: actionState, do: s.getCat}})
	for path, one := range map[string]struct {
		action string
		table  func(context.Context, *exchange) *table
	}{
		"/_cat/health": {actionHealth, s.catHealth},
		"/_cat/master": {actionState, s.catMaster},
		"/_cat/nodes":  {actionState, s.catNodes},
	} {
		handle(path, methods{http.MethodGet: {access: read, action: one.action, params: catParams, do: s.cat(one.action, one.table)}})
	}
}

// getCat lists the tables. It needs no privilege, like Elasticsearch's.
func (*Server) getCat(_ context.Context, x *exchange) (response, error) {
	x.scratch = append(x.scratch[:0], "=^.^=\n/_cat/health\n/_cat/master\n/_cat/nodes\n"...)
	return response{status: http.StatusOK, body: x.scratch, text: true}, nil
}

// cat returns the handler that shows a table.
func (s *Server) cat(action string, build func(context.Context, *exchange) *table) func(context.Context, *exchange) (response, error) {
	return func(ctx context.Context, x *exchange) (response, error) {
		for _, name := range [...]string{"v", "help", "ts", "local", "full_id", "include_unloaded_segments"} {
			if _, err := boolean(x.query, name, false); err != nil {
				return response{}, err
			}
		}
		if err := s.authorize(x, action); err != nil {
			return response{}, err
		}
		t := build(ctx, x)
		if x.flagged("help", false) {
			x.scratch = t.appendHelp(x.scratch[:0])
			return response{status: http.StatusOK, body: x.scratch, text: true}, nil
		}
		if err := t.sort(splitList(x.query.Get("s"))); err != nil {
			return response{}, err
		}
		list := t.choose(splitList(x.query.Get("h")))
		if wantsText(x) {
			x.scratch = t.appendText(x.scratch[:0], list, x.flagged("v", false))
			return response{status: http.StatusOK, body: x.scratch, text: true}, nil
		}
		x.scratch = t.appendJSON(x.scratch[:0], list)
		return response{status: http.StatusOK, body: x.scratch}, nil
	}
}

// wantsText tells whether a table is to be text, as it is unless the client asks for
// something else. A client that accepts plain text beside JSON, as those in JavaScript
// say with every request, gets what is usual here.
func wantsText(x *exchange) bool {
	if x.query.Has("format") {
		return x.mediaType("") == ""
	}
	accept := x.request.Header.Get("Accept")
	for one := range strings.SplitSeq(accept, ",") {
		if kind, _ := splitMediaType(one); kind == "text/plain" || kind == "*/*" || kind == "" {
			return true
		}
	}
	mediaType, err := answerType(x.request.Header)
	return err == nil && mediaType == mediaJSON && !strings.Contains(strings.ToLower(accept), mediaJSON)
}

// catNodes has the columns that Elasticsearch shows unasked, with nothing in those
// about machines, and what else is known of a node.
func (s *Server) catNodes(ctx context.Context, x *exchange) *table {
	t := &table{columns: []column{
		{name: "id", aliases: "id,nodeId", description: "unique node id", hidden: true},
		{name: "ip", aliases: "i", description: "ip address"},
		{name: "port", aliases: "po", description: "bound transport port", hidden: true},
		{name: "http_address", aliases: "http", description: "bound http address", hidden: true},
		{name: "version", aliases: "v", description: "es version", hidden: true},
		{name: "flavor", aliases: "f", description: "es distribution flavor", hidden: true},
		{name: "type", aliases: "t", description: "es distribution type", hidden: true},
		{name: "build", aliases: "b", description: "es build hash", hidden: true},
		{name: "heap.percent", aliases: "hp,heapPercent", description: "used heap ratio", right: true},
		{name: "ram.percent", aliases: "rp,ramPercent", description: "used machine memory ratio", right: true},
		{name: "cpu", aliases: "cpu", description: "recent cpu usage", right: true},
		{name: "load_1m", aliases: "l", description: "1m load avg", right: true},
		{name: "load_5m", aliases: "l", description: "5m load avg", right: true},
		{name: "load_15m", aliases: "l", description: "15m load avg", right: true},
		{name: "node.role", aliases: "r,role,nodeRole", description: "m:master eligible node, d:data node, i:ingest node, -:coordinating node only"},
		{name: "master", aliases: "m", description: "*:current master"},
		{name: "name", aliases: "n", description: "node name"},
	}}
	fullID := x.flagged("full_id", false)
	for _, m := range s.cluster.Health(ctx).Nodes {
		id, role, master := m.ID, "d", "-"
		if !fullID {
			id = id[:min(4, len(id))] //nolint:mnd // Elasticsearch's short form
		}
		if m.Voter {
			role = "dm"
		}
		if m.Leader {
			master = "*"
		}
		t.rows = append(t.rows, []string{
			id, hostOf(m.TransportAddress), portOf(m.TransportAddress), m.HTTPAddress, elasticsearchVersion, "default", "tar",
			m.Version, "", "", "", "", "", "", role, master, m.Name,
		})
	}
	return t
}

func (s *Server) catMaster(ctx context.Context, _ *exchange) *table {
	t := &table{columns: []column{
		{name: "id", description: "node id"},
		{name: "host", aliases: "h", description: "host name"},
		{name: "ip", description: "ip address "},
		{name: "node", aliases: "n", description: "node name"},
	}}
	for _, m := range s.cluster.Health(ctx).Nodes {
		if m.Leader {
			host := hostOf(m.TransportAddress)
			t.rows = [][]string{{m.ID, host, host, m.Name}}
			return t
		}
	}
	t.rows = [][]string{{"-", "-", "-", "-"}}
	return t
}

func (s *Server) catHealth(ctx context.Context, x *exchange) *table {
	untimed := !x.flagged("ts", true)
	number := func(name, aliases, description string) column {
		return column{name: name, aliases: aliases, description: description, right: true}
	}
	t := &table{columns: []column{
		{name: "epoch", aliases: "t,time", description: "seconds since 1970-01-01 00:00:00", hidden: untimed},
		{name: "timestamp", aliases: "ts,hms,hhmmss", description: "time in HH:MM:SS", hidden: untimed},
		{name: "cluster", aliases: "cl", description: "cluster name"},
		{name: "status", aliases: "st", description: "health status"},
		number("node.total", "nt,nodeTotal", "total number of nodes"),
		number("node.data", "nd,nodeData", "number of nodes that can store data"),
		number("shards", "t,sh,shards.total,shardsTotal", "total number of shards"),
		number("pri", "p,shards.primary,shardsPrimary", "number of primary shards"),
		number("relo", "r,shards.relocating,shardsRelocating", "number of relocating nodes"),
		number("init", "i,shards.initializing,shardsInitializing", "number of initializing nodes"),
		number("unassign", "u,shards.unassigned,shardsUnassigned", "number of unassigned shards"),
		number("unassign.pri", "up,shards.unassigned.primary,shardsUnassignedPrimary", "number of unassigned primary shards"),
		number("pending_tasks", "pt,pendingTasks", "number of pending tasks"),
		number("max_task_wait_time", "mtwt,maxTaskWaitTime", "wait time of longest task pending"),
		number("active_shards_percent", "asp,activeShardsPercent", "active number of shards in percent"),
	}}
	h, now := s.cluster.Health(ctx), s.now().UTC()
	answering := strconv.Itoa(h.Answering)
	t.rows = [][]string{{
		strconv.FormatInt(now.Unix(), 10), now.Format(time.TimeOnly), s.cluster.About().ClusterName, statusNames[statusOf(h)],
		answering, answering, "0", "0", "0", "0", "0", "0", "0", "-", "100.0%",
	}}
	return t
}
