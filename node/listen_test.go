package node

import (
	"net"
	"strings"
	"testing"
)

func TestAPortThatCannotBeListenedOnIsNamedWithItsSetting(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, test := range []struct {
		address string
		err     error
		want    string
	}{
		{taken.Addr().String(), nil, "listen for clients: port " + port + " is taken by another process: end that, or set http.port: listen tcp"},
		{"192.0.2.1:0", nil, "192.0.2.1 is no address of this machine: set http.host (or network.host) to one"},
		{"nowhere.example.org:9200", &net.DNSError{Err: "no such host"}, "nowhere.example.org does not resolve: set http.host (or network.host)"},
	} {
		err := test.err
		if err == nil {
			_, err = listenForClients(t.Context(), test.address)
		} else {
			err = listenError("clients", "http", test.address, err)
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.address, err)
		}
	}
}
