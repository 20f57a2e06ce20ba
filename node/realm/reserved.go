package realm

import "jeton/fsm"

// elastic is the superuser that exists from the start.
const elastic fsm.Username = "elastic"

// reservedMetadata marks what Elasticsearch built in.
const reservedMetadata = `{"_reserved":true}`

// reservedUsers are Elasticsearch's built-in users. Of them only the password and
// the enabled flag are replicated; without a password nobody can log in as one.
var reservedUsers = [...]fsm.Identity{
	reservedUser(elastic, reservedMetadata, "superuser"),
	reservedUser("kibana", `{"_deprecated":true,"_deprecated_reason":"Please use the [kibana_system] user instead.","_reserved":true}`, "kibana_system"),
	reservedUser("kibana_system", reservedMetadata, "kibana_system"),
	reservedUser("logstash_system", reservedMetadata, "logstash_system"),
	reservedUser("beats_system", reservedMetadata, "beats_system"),
	reservedUser("apm_system", reservedMetadata, "apm_system"),
	reservedUser("remote_monitoring_user", reservedMetadata, "remote_monitoring_collector", "remote_monitoring_agent"),
}

func reservedUser(name fsm.Username, metadata string, roles ...fsm.RoleName) fsm.Identity {
	return fsm.Identity{
		Principal: fsm.Principal{Username: name, Realm: fsm.Realm{Name: fsm.RealmReserved, Type: "reserved"}},
		Roles:     roles,
		Metadata:  []byte(metadata),
	}
}

// reserved returns a reserved user's identity, or nil.
func reserved(name fsm.Username) *fsm.Identity {
	for i := range reservedUsers {
		if reservedUsers[i].Username == name {
			return &reservedUsers[i]
		}
	}
	return nil
}

// realmOf says in which replicated realm a user's record lives.
func realmOf(name fsm.Username) fsm.RealmName {
	if reserved(name) != nil {
		return fsm.RealmReserved
	}
	return fsm.RealmNative
}
