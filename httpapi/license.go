package httpapi

import (
	"context"
	"encoding/hex"
	"net/http"
	"slices"
)

// Actions about the licence.
const (
	actionLicense = "cluster:monitor/xpack/license/get"
	actionXPack   = "cluster:monitor/xpack/info"
)

// licenseRoutes answer what clients ask about Elasticsearch's licence before they use
// security: there is none to buy here, and what there is, is enabled.
func (s *Server) licenseRoutes(handle handle) {
	license := methods{http.MethodGet: {
		access: read, action: actionLicense, params: []string{"local", "accept_enterprise", "master_timeout"}, do: s.getLicense,
	}}
	handle("/_license", license)
	handle("/_xpack/license", license)
	handle("/_xpack", methods{http.MethodGet: {
		access: read, action: actionXPack, params: []string{"categories", "accept_enterprise", "master_timeout"}, do: s.getXPack,
	}})
}

// licenseID is the cluster's id in the form of Elasticsearch's licences.
func (s *Server) licenseID() string {
	id := s.cluster.About().ClusterID
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// getLicense describes the licence that never ends.
func (s *Server) getLicense(_ context.Context, x *exchange) (response, error) {
	for _, name := range [...]string{"local", "accept_enterprise"} {
		if _, err := boolean(x.query, name, false); err != nil {
			return response{}, err
		}
	}
	if err := s.authorize(x, actionLicense); err != nil {
		return response{}, err
	}
	dst := append(x.scratch[:0], `{"license":{"status":"active","uid":`...)
	dst = appendString(dst, s.licenseID())
	dst = append(dst, `,"type":"basic",`...)
	if x.flagged("human", true) { // as in Elasticsearch, here only
		dst = append(dst, `"issue_date":"1970-01-01T00:00:00.000Z",`...)
	}
	dst = append(dst, `"issue_date_in_millis":0,"max_nodes":1000,"max_resource_units":null,"issued_to":`...)
	dst = appendString(dst, s.cluster.About().ClusterName)
	x.scratch = append(dst, `,"issuer":"elasticsearch","start_date_in_millis":-1}}`...)
	return response{status: http.StatusOK, body: x.scratch}, nil
}

// getXPack tells which features there are.
func (s *Server) getXPack(_ context.Context, x *exchange) (response, error) {
	categories := splitList(x.query.Get("categories"))
	for _, category := range categories {
		if !slices.Contains([]string{"_all", "_none", "build", "license", "features"}, category) {
			return response{}, &argumentError{reason: "unknown xpack info category [" + echo(category) + "]"}
		}
	}
	if err := s.authorize(x, actionXPack); err != nil {
		return response{}, err
	}
	dst := append(x.scratch[:0], '{')
	with := func(category string) bool {
		shown := len(categories) == 0 || slices.Contains(categories, category) || slices.Contains(categories, "_all")
		if shown && len(dst) > 1 {
			dst = append(dst, ',')
		}
		return shown
	}
	if with("build") {
		dst = append(dst, `"build":{"hash":`...)
		dst = append(appendString(dst, s.version), `,"date":"unknown"}`...)
	}
	if with("license") {
		dst = append(dst, `"license":{"uid":`...)
		dst = append(appendString(dst, s.licenseID()), `,"type":"basic","mode":"basic","status":"active"}`...)
	}
	if with("features") {
		dst = append(dst, `"features":{"security":{"available":true,"enabled":true}}`...)
	}
	if x.flagged("human", true) && len(dst) > 1 {
		dst = append(dst, `,"tagline":"You know, for X"`...)
	}
	x.scratch = append(dst, '}')
	return response{status: http.StatusOK, body: x.scratch}, nil
}
