package node

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// listenError says which setting an address is of, and what can be done, when this node
// cannot listen there. Whom is who would connect, prefix begins the settings' names.
func listenError(whom, prefix, address string, err error) error {
	host, port, splitErr := net.SplitHostPort(address)
	if splitErr != nil {
		host = address
	}
	hostSetting, portSetting := prefix+".host", prefix+".port"
	var advice string
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = fmt.Sprintf("port %s is taken by another process: end that, or set %s", port, portSetting)
	case errors.Is(err, syscall.EACCES):
		advice = fmt.Sprintf("this user may not listen on port %s: set %s to one above 1023", port, portSetting)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = fmt.Sprintf("%s is no address of this machine: set %s (or network.host) to one", host, hostSetting)
	default:
		if _, unknown := errors.AsType[*net.DNSError](err); unknown {
			advice = fmt.Sprintf("%s does not resolve: set %s (or network.host) to an address of this machine", host, hostSetting)
			break
		}
		advice = fmt.Sprintf("see %s and %s", hostSetting, portSetting)
	}
	return fmt.Errorf("listen for %s: %s: %w", whom, advice, err)
}
