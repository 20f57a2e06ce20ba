package httpapi

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const actionNodes = "cluster:monitor/nodes/info"

// Member is a node that answered just now. Addresses are host:port as the node
// publishes them.
type Member struct {
	ID               string
	Name             string
	TransportAddress string
	HTTPAddress      string // where clients reach it
	Version          string // of Jeton
	Voter            bool
	Leader           bool
	Self             bool // the node that was asked
}

// nodeRoutes tell where the nodes are: by them clients find the whole cluster from one
// address, which they call sniffing.
func (s *Server) nodeRoutes(handle handle) {
	get := methods{http.MethodGet: {
		access: read, action: actionNodes, params: []string{"flat_settings", "timeout"}, do: s.getNodes,
	}}
	handle("/_nodes", get)
	handle("/_nodes/{nodes}", get)
	handle("/_nodes/{nodes}/{metrics}", get)
}

// nodeMetrics are the parts of a node's description that Elasticsearch knows; those
// beside http and transport are empty here.
var nodeMetrics = []string{
	"_all", "_none", "settings", "os", "process", "jvm", "thread_pool", "transport", "http", "remote_cluster_server",
	"plugins", "ingest", "aggregations", "indices",
}

// getNodes describes the nodes asked for that answer.
func (s *Server) getNodes(ctx context.Context, x *exchange) (response, error) {
	for _, name := range [...]string{"flat_settings", "human"} {
		if _, err := boolean(x.query, name, false); err != nil {
			return response{}, err
		}
	}
	if _, err := timeValue(x.query, "timeout", 0); err != nil {
		return response{}, err
	}
	if err := s.authorize(x, actionNodes); err != nil {
		return response{}, err
	}
	wanted, metrics := x.list("nodes"), x.list("metrics")
	if onlyMetrics := !slices.ContainsFunc(wanted, func(one string) bool { return !slices.Contains(nodeMetrics, one) }); onlyMetrics && metrics == nil {
		wanted, metrics = nil, wanted // GET /_nodes/http
	}
	part := func(name string) bool {
		return len(metrics) == 0 || slices.Contains(metrics, name) || slices.Contains(metrics, "_all")
	}
	health := s.cluster.Health(ctx)
	dst := append(x.scratch[:0], '{')
	members, failed := selectMembers(health, wanted)
	dst = appendNodesHeader(dst, len(members), failed)
	dst = append(dst, `,"cluster_name":`...)
	dst = appendString(dst, s.cluster.About().ClusterName)
	dst = append(dst, `,"nodes":{`...)
	for i := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendNode(dst, &members[i])
		if part("transport") {
			dst = append(dst, `,"transport":`...)
			dst = append(appendAddresses(dst, members[i].TransportAddress), `,"profiles":{}}`...)
		}
		if part("http") {
			dst = append(dst, `,"http":`...)
			dst = s.appendHTTP(appendAddresses(dst, members[i].HTTPAddress), &members[i], x.flagged("human", false))
		}
		dst = append(dst, '}')
	}
	x.scratch = append(dst, '}', '}')
	return response{status: http.StatusOK, body: x.scratch}, nil
}

// appendNodesHeader begins the answer of a request that several nodes take part in.
func appendNodesHeader(dst []byte, successful, failed int) []byte {
	dst = append(dst, `"_nodes":{"total":`...)
	dst = strconv.AppendInt(dst, int64(successful+failed), 10)
	dst = append(dst, `,"successful":`...)
	dst = strconv.AppendInt(dst, int64(successful), 10)
	dst = append(dst, `,"failed":`...)
	dst = strconv.AppendInt(dst, int64(failed), 10)
	return append(dst, '}')
}

// selectMembers returns the members asked for, or all. Members that do not answer can
// be counted only if all were asked for: of them nothing but the number is known.
func selectMembers(h Health, wanted []string) (members []Member, failed int) {
	if len(wanted) == 0 || slices.Contains(wanted, "_all") || slices.Contains(wanted, "*") {
		return h.Nodes, max(0, h.Members-len(h.Nodes))
	}
	for _, m := range h.Nodes {
		if slices.ContainsFunc(wanted, m.matches) {
			members = append(members, m)
		}
	}
	return members, 0
}

// matches knows Elasticsearch's node filters: an id, name or address with wildcards,
// _local, _master, and roles.
func (m Member) matches(filter string) bool {
	switch filter {
	case "_local":
		return m.Self
	case "_master":
		return m.Leader
	case "master:true", "master:false", "data:true", "data:false":
		name, want, _ := strings.Cut(filter, ":")
		return slices.Contains(m.roles(), name) == (want == "true")
	}
	host := hostOf(m.TransportAddress)
	return slices.ContainsFunc([]string{m.ID, m.Name, host, m.TransportAddress}, func(name string) bool { return glob(filter, name) })
}

// roles are Elasticsearch's: every node holds all data, and who votes may lead.
func (m Member) roles() []string {
	if m.Voter {
		return []string{"data", "master"}
	}
	return []string{"data"}
}

// appendNode appends the members that every node's description begins with, open.
func appendNode(dst []byte, m *Member) []byte {
	dst = appendString(dst, m.ID)
	dst = append(dst, `:{"name":`...)
	dst = appendString(dst, m.Name)
	dst = append(dst, `,"transport_address":`...)
	dst = appendString(dst, m.TransportAddress)
	host := hostOf(m.TransportAddress)
	dst = append(dst, `,"host":`...)
	dst = appendString(dst, host)
	dst = append(dst, `,"ip":`...)
	dst = appendString(dst, host)
	dst = append(dst, `,"version":"`+elasticsearchVersion+`","build_flavor":"default","build_type":"tar","build_hash":`...)
	dst = appendString(dst, m.Version)
	dst = append(dst, `,"roles":`...)
	dst = appendStrings(dst, m.roles())
	return append(dst, `,"attributes":{}`...)
}

// appendAddresses appends where a node is reached, open.
func appendAddresses(dst []byte, published string) []byte {
	dst = append(dst, `{"bound_address":`...)
	dst = appendStrings(dst, []string{published})
	dst = append(dst, `,"publish_address":`...)
	return appendString(dst, published)
}

// appendHTTP closes the description of a node's HTTP. Only of its own limit a node
// knows.
func (s *Server) appendHTTP(dst []byte, m *Member, human bool) []byte {
	if m.Self {
		if human {
			dst = append(dst, `,"max_content_length":`...)
			dst = appendString(dst, byteSize(s.bodyBytes))
		}
		dst = append(dst, `,"max_content_length_in_bytes":`...)
		dst = strconv.AppendInt(dst, s.bodyBytes, 10)
	}
	return append(dst, '}')
}

// byteSize is a size in the largest unit that has a whole number of it.
func byteSize(n int64) string {
	for _, u := range [...]struct {
		bytes int64
		name  string
	}{{1 << 20, "mb"}, {1 << 10, "kb"}} {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "b"
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

func portOf(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return port
}
