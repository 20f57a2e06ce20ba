package node

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/httpapi"
)

// Clients that ask one member where the others are get the addresses that each
// publishes, behind whatever it stands.
func TestMembersAreShownAsTheyPublishThemselves(t *testing.T) {
	s := newSite(t)
	s.config.HTTP.PublishHost, s.config.HTTP.PublishPort = "tokens.example.org", 443
	n := s.mustOpen()
	about := n.About()
	want := []httpapi.Member{{
		ID: about.NodeID, Name: about.NodeName, TransportAddress: s.config.Transport.PublishAddress(),
		HTTPAddress: "tokens.example.org:443", Version: "test", Voter: true, Leader: true, Self: true,
	}}
	if diff := cmp.Diff(want, n.Health(t.Context()).Nodes); diff != "" || about.NodeID == "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEveryMemberShowsAllThatAnswer(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 3)}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("ann")
		for _, m := range s.members {
			health := m.running().node.Health(t.Context())
			var shown []string
			leaders, selves := 0, 0
			for _, one := range health.Nodes {
				shown = append(shown, one.Name)
				if one.Leader {
					leaders++
				}
				if one.Self {
					selves++
				}
			}
			slices.Sort(shown)
			if diff := cmp.Diff(names(s.members...), shown); diff != "" || leaders != 1 || selves != 1 || health.Answering != 3 {
				t.Errorf("%s shows %+v (-want +got):\n%s", m.name, health, diff)
			}
		}
	})
}
