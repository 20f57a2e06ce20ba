package realm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"jeton/fsm"
)

// Grants are what a user's roles together allow, as Elasticsearch names it. Only
// cluster privileges mean something to Jeton; the others are for applications that keep
// their rights here.
type Grants struct {
	Cluster      []string // sorted, each once
	Indices      []IndexGrant
	Applications []ApplicationGrant
	RunAs        []string // sorted, each once

	scope []string // see fsm.Identity
}

// IndexGrant is an entry of a role's indices.
type IndexGrant struct {
	Names         []string // patterns
	Privileges    []string
	Restricted    bool            // indices of the system, too
	FieldSecurity json.RawMessage // nil: none
	Query         string          // empty: none
}

// ApplicationGrant is an entry of a role's applications. All are patterns.
type ApplicationGrant struct {
	Application string   `json:"application"`
	Privileges  []string `json:"privileges"`
	Resources   []string `json:"resources"`
}

// Grants collects what the user's roles allow by their definitions of now. A narrowed
// token has the cluster privileges of its scope that its roles have too, and no other
// rights.
func (r *Roles) Grants(user *fsm.Identity) Grants {
	g := Grants{scope: user.Scope}
	for _, name := range user.Roles {
		role, ok := r.role(name)
		if !ok {
			continue
		}
		for _, one := range role.Cluster {
			g.Cluster = append(g.Cluster, strings.ToLower(one))
		}
		g.RunAs = append(g.RunAs, role.RunAs...)
		indices, applications := grantsOf(role.Rest)
		g.Indices = append(g.Indices, indices...)
		g.Applications = append(g.Applications, applications...)
	}
	if user.Scope != nil {
		candidates := append(slices.Clone(user.Scope), g.Cluster...)
		held := slices.DeleteFunc(candidates, func(name string) bool { return !g.HasCluster(name) })
		g = Grants{Cluster: held, scope: user.Scope}
	}
	g.Cluster, g.RunAs = sortedOnce(g.Cluster), sortedOnce(g.RunAs)
	return g
}

func sortedOnce(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// indexEntry is an entry of a role's indices as a client sends it.
type indexEntry struct {
	Names         texts           `json:"names"`
	Privileges    texts           `json:"privileges"`
	Restricted    bool            `json:"allow_restricted_indices"`
	FieldSecurity json.RawMessage `json:"field_security"`
	Query         json.RawMessage `json:"query"`
}

// grantsOf reads the members of a role that Jeton stores as they came. They were found
// in order by [grantsProblem].
func grantsOf(rest []byte) (indices []IndexGrant, applications []ApplicationGrant) {
	var members struct {
		Indices      []indexEntry       `json:"indices"`
		Applications []ApplicationGrant `json:"applications"`
	}
	if len(rest) == 0 || json.Unmarshal(rest, &members) != nil {
		return nil, nil
	}
	for _, entry := range members.Indices {
		grant := IndexGrant{Names: entry.Names, Privileges: entry.Privileges, Restricted: entry.Restricted}
		if string(entry.FieldSecurity) != "null" {
			grant.FieldSecurity = entry.FieldSecurity
		}
		if json.Unmarshal(entry.Query, &grant.Query) != nil {
			grant.Query = string(entry.Query) // an object, which Elasticsearch shows as text, too
		}
		indices = append(indices, grant)
	}
	return indices, members.Applications
}

// grantsProblem tells what is wrong with a role's indices and applications.
func grantsProblem(name fsm.RoleName, members map[string]json.RawMessage) string {
	var indices []indexEntry
	if raw, ok := members["indices"]; ok && json.Unmarshal(raw, &indices) != nil {
		return fmt.Sprintf("failed to parse indices privileges for role [%s]", name)
	}
	for _, entry := range indices {
		switch {
		case len(entry.Names) == 0:
			return fmt.Sprintf("failed to parse indices privileges for role [%s]. missing required [names] field", name)
		case entry.Privileges == nil:
			return fmt.Sprintf("failed to parse indices privileges for role [%s]. missing required [privileges] field", name)
		}
		if err := CheckPrivileges(nil, entry.Privileges); err != nil {
			return err.Error()
		}
	}
	var applications []ApplicationGrant
	if raw, ok := members["applications"]; ok && json.Unmarshal(raw, &applications) != nil {
		return fmt.Sprintf("failed to parse application privileges for role [%s]", name)
	}
	for _, entry := range applications {
		if entry.Application == "" || len(entry.Privileges) == 0 || len(entry.Resources) == 0 {
			return "application privileges must have an application, and at least one privilege and one resource"
		}
	}
	return ""
}

// texts is an array of strings, or one string.
type texts []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *texts) UnmarshalJSON(raw []byte) error {
	var one string
	if err := json.Unmarshal(raw, &one); err == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(t)) //nolint:wrapcheck // json passes it on
}

// HasCluster tells whether the user has a cluster privilege, or the actions of a
// pattern, whole. Nobody has one that does not exist.
func (g Grants) HasCluster(name string) bool {
	asked, ok := findPrivilege(name)
	if !ok {
		return false
	}
	return holds(g.Cluster, asked, findPrivilege) && (g.scope == nil || holds(g.scope, asked, findPrivilege))
}

// holds tells whether names of privileges together grant another one.
func holds(names []string, asked privilege, find func(string) (privilege, bool)) bool {
	if asked.name == "none" || slices.Contains(names, "all") || slices.Contains(names, asked.name) {
		return true
	}
	if asked.name == "manage_own_api_key" { // Elasticsearch's is no pattern
		asked, _ = predefined("manage_api_key")
	}
	if len(asked.grants) == 0 {
		return false
	}
	return !slices.ContainsFunc(asked.grants, func(pattern string) bool {
		return !slices.ContainsFunc(names, func(name string) bool {
			p, ok := find(name)
			return ok && p.covers(pattern, asked.but)
		})
	})
}

// HasIndex tells whether the user has an index privilege on an index, or on all that a
// pattern names.
func (g Grants) HasIndex(index, name string) bool {
	asked, ok := findIndexPrivilege(name)
	if !ok {
		return false
	}
	restricted := strings.HasPrefix(index, restrictedPrefix)
	var held []string
	for _, grant := range g.Indices {
		if (grant.Restricted || !restricted) && matchesAny(grant.Names, index) {
			held = append(held, grant.Privileges...)
		}
	}
	return holds(held, asked, findIndexPrivilege)
}

// HasApplication tells whether the user has an application's privilege on a resource.
func (g Grants) HasApplication(application, name, resource string) bool {
	return slices.ContainsFunc(g.Applications, func(grant ApplicationGrant) bool {
		return matchesPattern(grant.Application, application) && matchesAny(grant.Privileges, name) && matchesAny(grant.Resources, resource)
	})
}

// CheckPrivileges refuses names of cluster and index privileges that do not exist, in
// Elasticsearch's words. Errors: [*ArgumentError].
func CheckPrivileges(cluster, index []string) error {
	for _, name := range cluster {
		if problem := privilegeProblem(name); problem != "" {
			if len(name) > maxShownName { // the text has it twice
				problem = strings.ReplaceAll(problem, name, strings.ToValidUTF8(name[:maxShownName], "")+"...")
			}
			return &ArgumentError{problem}
		}
	}
	for _, name := range index {
		if _, ok := findIndexPrivilege(name); !ok {
			return &ArgumentError{"unknown index privilege [" + name + "]. a privilege must be either one of the predefined fixed " +
				"indices privileges [" + strings.Join(namesOf(indexPrivileges[:]), ",") + "] or a pattern over one of the available index actions"}
		}
	}
	return nil
}

// maxShownName bounds what of a name that somebody sent is sent back.
const maxShownName = 512

// BuiltinPrivileges returns the names of all predefined privileges, sorted.
func BuiltinPrivileges() (cluster, index []string) {
	return sortedOnce(namesOf(privileges[:])), sortedOnce(namesOf(indexPrivileges[:]))
}

func namesOf(list []privilege) []string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.name
	}
	return names
}
