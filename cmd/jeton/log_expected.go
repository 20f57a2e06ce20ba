package main

import (
	"fmt"
	"strings"
	"time"
)

// startNoise is how long after the start of a process the other nodes of a cluster
// that is started as a whole may not listen yet.
const startNoise = 10 * time.Second

// moment is what a node is doing when something is logged.
type moment struct {
	starting bool // the process is young
	ending   bool // it was told to end
}

// occasion decides by the arguments of a line, as text, and by the moment whether
// it is no news.
type occasion func(argument func(name string) string, at moment) bool

// expected says that a warning or an error is part of an ordinary start, end or
// change of certificates, so that who reads warnings need not see it. Everything
// else stays as loud as it is: only these exact messages, only on these occasions.
func expected(message string, args []any, at moment) bool {
	is, listed := expectations()[message]
	return listed && is(func(name string) string { return argument(args, name) }, at)
}

// expectations are by message. Most are those of the consensus library, which
// calls everything that happens for the first time a warning.
func expectations() map[string]occasion {
	return map[string]occasion{
		// The other end, or a reload of certificates here, closed the connection; it
		// is made anew. A peer that is really gone is refused then, which is logged.
		"failed to decode incoming command":       hungUp,
		"failed to flush response":                hungUp,
		"failed to pipeline appendEntries":        hungUp,
		"failed to start pipeline replication to": hungUp,
		"failed to appendEntries to":              eitherOf(hungUp, ending),
		"failed to heartbeat to":                  eitherOf(hungUp, ending),

		// Only this node itself closes where raft's connections arrive, and it does so at its end.
		"failed to accept connection": hungUp,

		// A node that ends need not tell that the others end too: the whole cluster does.
		"failed to contact": ending,
		"failed to contact quorum of nodes, stepping down":                                  ending,
		"leadership not handed over; the others will elect a leader when this node is gone": both(ending, refused),

		// Nor what the one to whom it has handed over tells it first.
		"peer has newer term, stopping replication": ending,

		// Nodes that are started together come up one after the other. What a node
		// waits for, it says itself.
		"cannot reach a peer":             eitherOf(ending, both(starting, refused)),
		"failed to make requestVote RPC":  eitherOf(hungUp, eitherOf(ending, both(starting, refused))),
		"not a member of the cluster yet": both(starting, noLeaderElected),

		// A node without a log looks for its cluster, and says so itself.
		"no known peers, aborting election": always,
		// A question for a vote may arrive when the election is won.
		"rejecting vote request since our last term is greater": starting,
		// Who has never known a leader has lost none.
		"heartbeat timeout reached, starting election": noLeaderYet,

		// How a leader finds where the log of a follower ends: by asking too far and
		// going back.
		"appendEntries rejected, sending older logs": always,
		"failed to get previous log":                 shortLog,
	}
}

func always(func(string) string, moment) bool { return true }

func starting(_ func(string) string, at moment) bool { return at.starting }

func ending(_ func(string) string, at moment) bool { return at.ending }

func hungUp(argument func(string) string, _ moment) bool {
	err := argument("error")
	return err == "EOF" || strings.HasSuffix(err, ": EOF") || strings.HasSuffix(err, "use of closed network connection")
}

func refused(argument func(string) string, _ moment) bool {
	return strings.HasSuffix(argument("error"), "connection refused")
}

func noLeaderYet(argument func(string) string, _ moment) bool {
	return argument("last-leader-id") == "" && argument("last-leader-addr") == ""
}

func noLeaderElected(argument func(string) string, _ moment) bool {
	return strings.HasSuffix(argument("reason"), "no node that was asked knows the leader")
}

func shortLog(argument func(string) string, _ moment) bool {
	return argument("error") == "log not found"
}

func eitherOf(a, b occasion) occasion {
	return func(argument func(string) string, at moment) bool { return a(argument, at) || b(argument, at) }
}

func both(a, b occasion) occasion {
	return func(argument func(string) string, at moment) bool { return a(argument, at) && b(argument, at) }
}

// argument returns the value of one of the name and value pairs, "" if it is not there.
func argument(args []any, name string) string {
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] == name {
			return fmt.Sprint(args[i+1])
		}
	}
	return ""
}
