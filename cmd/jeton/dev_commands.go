package main

import (
	"encoding/json"
	"fmt"
)

// devCommand is one step of the tour that dev prints: POSIX shell with curl and
// sed, which works as printed. Later steps use variables of earlier ones.
type devCommand struct {
	About string `json:"about"`
	Run   string `json:"run"` // may span lines
}

// devCommands returns the tour through a ready cluster.
func devCommands(r devReady) []devCommand {
	at := func(i int) nodeEntry { return r.nodes[i%len(r.nodes)] } // fewer nodes: round again
	const tokens, whoami = "/_security/oauth2/token", "/_security/_authenticate"
	login := shellCommand("curl", "-sS", "--cacert", r.cacert, "-u", elasticUser+":"+r.password)
	plain := shellCommand("curl", "-sS", "--cacert", r.cacert)
	request := func(verb, variable, url, body string) string {
		run := fmt.Sprintf("%s%s -H 'Content-Type: application/json' \\\n  %s -d %s", login, verb, url, body)
		if variable == "" {
			return run + "; echo"
		}
		return fmt.Sprintf("%s=$(%s); echo \"$%s\"", variable, run, variable)
	}
	victim := at(1)
	commands := []devCommand{
		{
			"Issue a pair of tokens at " + at(0).Name,
			request("", "pair", at(0).URL+tokens, passwordGrant(r.password)) + "\n" +
				extract("access", "pair", "access_token") + "\n" + extract("refresh", "pair", "refresh_token"),
		},
		{
			"Who is it? Ask " + at(1).Name,
			plain + ` -H "Authorization: Bearer $access" ` + at(1).URL + whoami + "; echo",
		},
		{
			"Refresh at " + at(2).Name + "; again within 30 s gives the same pair, at any node",
			request("", "next", at(2).URL+tokens, `"{\"grant_type\":\"refresh_token\",\"refresh_token\":\"$refresh\"}"`) + "\n" +
				extract("successor", "next", "access_token"),
		},
		{
			"Invalidate the successor at " + at(0).Name,
			request(" -X DELETE", "", at(0).URL+tokens, `"{\"token\":\"$successor\"}"`),
		},
		{
			"It is refused everywhere at once: 401 at " + at(2).Name,
			plain + ` -w '\n%{http_code}\n' -H "Authorization: Bearer $successor" ` + at(2).URL + whoami,
		},
	}
	kill := devCommand{"Kill " + victim.Name + " and bring it back", fmt.Sprintf("kill -9 %d\n%s", victim.PID, victim.Restart)}
	if len(r.nodes) > 2 {
		kill = devCommand{
			"Kill " + victim.Name + ", ask " + at(2).Name + " meanwhile, and bring it back",
			fmt.Sprintf("kill -9 %d\n%s -H \"Authorization: Bearer $access\" %s%s; echo\n%s",
				victim.PID, plain, at(2).URL, whoami, victim.Restart),
		}
	}
	return append(commands, kill)
}

// passwordGrant returns the body of a password grant for elastic, as one shell word.
func passwordGrant(password string) string {
	quoted, _ := json.Marshal(password) //nolint:errchkjson // text cannot fail
	return shellQuote(fmt.Sprintf(`{"grant_type":"password","username":"%s","password":%s}`, elasticUser, quoted))
}

// extract is a shell assignment that takes one member out of a JSON object on
// one line whose values hold no escapes, as tokens do.
func extract(variable, from, member string) string {
	return fmt.Sprintf(`%s=$(printf %%s "$%s" | sed 's/.*"%s" *: *"\([^"]*\)".*/\1/')`, variable, from, member)
}
