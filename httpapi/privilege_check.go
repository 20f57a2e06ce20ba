package httpapi

import (
	"slices"

	"jeton/node/realm"
)

// maxPrivilegeChecks bounds what one request asks: each pair of a name and a privilege
// is compared with everything that the user has.
const maxPrivilegeChecks = 4096

// privilegeCheck is the body of a has privileges request.
type privilegeCheck struct {
	cluster      []string
	indices      []realm.IndexGrant
	applications []realm.ApplicationGrant
}

// validate bounds the request and refuses names of privileges that do not exist.
func (q *privilegeCheck) validate() error {
	asked, size := len(q.cluster), len(q.cluster)
	var names []string
	count := func(targets, privileges []string) {
		pairs := len(targets) * len(privileges)
		asked += pairs
		size += pairs + len(targets) + len(privileges)
	}
	for _, entry := range q.indices {
		count(entry.Names, entry.Privileges)
		names = append(names, entry.Privileges...)
	}
	for _, entry := range q.applications {
		count(entry.Resources, entry.Privileges)
	}
	switch {
	case size > maxPrivilegeChecks:
		return &argumentError{reason: "the request asks for too many privileges at once"}
	case asked == 0:
		return &realm.ValidationError{Type: typeValidation, Messages: []string{"must specify at least one privilege"}}
	}
	return realm.CheckPrivileges(q.cluster, names)
}

// parsePrivilegeCheck reads the body of a has privileges request about a user.
func parsePrivilegeCheck(name string, body []byte) (q privilegeCheck, err error) {
	expect := func(_ position, kind valueKind) error {
		return elementError("failed to parse privileges check [%s]. expected an object but found [%s] instead", name, kind)
	}
	some := false
	err = readObject(body, expect, func(field string, _ position, v value) (err error) {
		some = true
		switch field {
		case "cluster":
			q.cluster, err = v.asStrings(field)
		case "index":
			err = v.eachObject(name, field, func(entry value) error {
				grant, err := parseIndexCheck(name, entry)
				q.indices = append(q.indices, grant)
				return err
			})
		case "application", "applications":
			err = v.eachObject(name, field, func(entry value) error {
				grant, err := parseApplicationCheck(name, entry)
				q.applications = append(q.applications, grant)
				return err
			})
		default:
			err = elementError("failed to parse privileges check [%s]. unexpected field [%s]", name, echo(field))
		}
		return err
	})
	if err == nil && !some {
		err = elementError("failed to parse privileges check [%s]. All privilege fields [cluster,index,applications] are missing", name)
	}
	return q, err
}

// eachObject reads an array of objects.
func (v value) eachObject(name, field string, each func(entry value) error) error {
	if v.kind != kindArray {
		return elementError("failed to parse indices privileges for role [%s]. expected field [%s] value to be an array, but found [%s] instead",
			name, field, v.kind)
	}
	r := newReader(v.raw)
	_, _ = r.next() // the bracket; the text has been read once and is well-formed
	for r.dec.More() {
		entry, err := r.value(1)
		if err != nil {
			return err
		}
		if entry.kind != kindObject {
			return elementError("failed to parse indices privileges for role [%s]. expected field [%s] value to be an array of objects, "+
				"but found an array element of type [%s]", name, field, entry.kind)
		}
		if err := each(entry); err != nil {
			return err
		}
	}
	return nil
}

func parseIndexCheck(name string, entry value) (grant realm.IndexGrant, err error) {
	err = readObject(entry.raw, expectObject, func(field string, _ position, v value) (err error) {
		switch field {
		case "names":
			if v.kind == kindString {
				grant.Names = []string{v.text}
				return nil
			}
			grant.Names, err = v.asStrings(field)
		case "privileges":
			grant.Privileges, err = v.asStrings(field)
		case "allow_restricted_indices":
			grant.Restricted, err = v.asBoolean(field)
		case "field_security", "query":
			err = elementError("Field [%s] is not supported in a has_privileges request", field)
		default:
			err = elementError("failed to parse indices privileges for role [%s]. unexpected field [%s]", name, echo(field))
		}
		return err
	})
	if err == nil {
		err = missing("indices privileges", name, map[string][]string{"names": grant.Names, "privileges": grant.Privileges})
	}
	return grant, err
}

func parseApplicationCheck(name string, entry value) (grant realm.ApplicationGrant, err error) {
	err = readObject(entry.raw, expectObject, func(field string, _ position, v value) (err error) {
		switch field {
		case "application":
			grant.Application, err = v.asString(field)
		case "privileges":
			grant.Privileges, err = v.asStrings(field)
		case "resources":
			grant.Resources, err = v.asStrings(field)
		default:
			err = elementError("failed to parse application privileges for role [%s]. unexpected field [%s]", name, echo(field))
		}
		return err
	})
	if err == nil && grant.Application == "" {
		grant.Resources = nil
		err = elementError("failed to parse application privileges for role [%s]. missing required [application] field", name)
	}
	if err == nil {
		err = missing("application privileges", name, map[string][]string{"resources": grant.Resources, "privileges": grant.Privileges})
	}
	return grant, err
}

// missing names the first field, by name, that an entry must have and has not.
func missing(what, name string, fields map[string][]string) error {
	var absent []string
	for field, list := range fields {
		if list == nil {
			absent = append(absent, field)
		}
	}
	if len(absent) == 0 {
		return nil
	}
	return elementError("failed to parse %s for role [%s]. missing required [%s] field", what, name, slices.Min(absent))
}
