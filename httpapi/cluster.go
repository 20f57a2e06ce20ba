package httpapi

import (
	"context"
	"encoding/base64"
	"net/http"
)

// What GET / says of itself. Clients read the version to know what the server can
// do, and some refuse another tagline.
const (
	elasticsearchVersion = "8.19.0"
	tagline              = "You Know, for Search"
)

const actionMain = "cluster:monitor/main"

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
