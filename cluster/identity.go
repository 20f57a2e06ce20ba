package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// identityScheme is the scheme of the URI in a node's certificate.
const identityScheme = "jeton"

// errIdentity is wrapped by every refusal of a peer whose chain is good but who
// is not a node of this cluster. Only a holder of a certificate of our own CA can
// cause it, so it is worth a line in the log.
var errIdentity = errors.New("not a node of this cluster")

// peerIdentity returns the names in a node's certificate, which carries exactly
// one URI of the form jeton://<cluster.name>/node/<node.name>. A certificate with
// none, several, or one of another role is refused: that the CA signed it is not
// enough (CVE-2021-37219).
func peerIdentity(cert *x509.Certificate) (clusterName, nodeName string, err error) {
	var found *url.URL
	for _, u := range cert.URIs {
		if u.Scheme != identityScheme {
			continue
		}
		if found != nil {
			return "", "", fmt.Errorf("%w: its certificate carries several %s:// names", errIdentity, identityScheme)
		}
		found = u
	}
	if found == nil {
		return "", "", fmt.Errorf("%w: its certificate carries no %s:// name", errIdentity, identityScheme)
	}
	name, isNode := strings.CutPrefix(found.Path, "/node/")
	plain := found.User == nil && found.RawQuery == "" && found.Fragment == "" && found.Opaque == ""
	if !isNode || !plain || name == "" || strings.Contains(name, "/") || found.Host == "" {
		return "", "", fmt.Errorf("%w: its certificate says %q", errIdentity, found.String())
	}
	return found.Host, name, nil
}

// checkPeer verifies the leaf of a chain that was verified already and returns
// the peer's node name.
func checkPeer(state *tls.ConnectionState, clusterName string) (string, error) {
	if len(state.PeerCertificates) == 0 {
		return "", fmt.Errorf("%w: it showed no certificate", errIdentity)
	}
	theirs, name, err := peerIdentity(state.PeerCertificates[0])
	if err != nil {
		return "", err
	}
	if theirs != clusterName {
		return "", fmt.Errorf("%w: node %q belongs to cluster %q", errIdentity, name, theirs)
	}
	return name, nil
}

// serverTLS returns cfg with everything forced that the protocol depends on,
// whatever the configuration it came from says.
func serverTLS(cfg *tls.Config, clusterName string) (*tls.Config, error) {
	if cfg == nil {
		return nil, errors.New("no TLS configuration")
	}
	cfg = cfg.Clone()
	if next := cfg.GetConfigForClient; next != nil {
		cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			fresh, err := next(hello)
			if err != nil || fresh == nil {
				return nil, errors.Join(errors.New("no TLS configuration for this connection"), err)
			}
			fresh = fresh.Clone()
			fresh.GetConfigForClient = nil
			return serverTLS(fresh, clusterName)
		}
	} else if cfg.ClientCAs == nil {
		// Go would fall back to the roots of the machine: any web server's certificate.
		return nil, errors.New("the TLS configuration names no CA for clients")
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	harden(cfg, []string{protocolRaft, protocolRPC})
	verify := cfg.VerifyConnection
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		if _, err := checkPeer(&state, clusterName); err != nil {
			return err
		}
		if verify != nil {
			return verify(state)
		}
		return nil
	}
	return cfg, nil
}

// clientTLS is serverTLS for a dialling node. A node is known by its identity,
// not by the address it happens to have, so the chain is verified here instead of
// by the standard library, which would insist on a host name.
func clientTLS(cfg *tls.Config, clusterName, protocol string) (*tls.Config, error) {
	if cfg == nil {
		return nil, errors.New("no TLS configuration")
	}
	if cfg.RootCAs == nil {
		return nil, errors.New("the TLS configuration names no CA for servers")
	}
	cfg = cfg.Clone()
	harden(cfg, []string{protocol})
	cfg.InsecureSkipVerify = true
	verify := cfg.VerifyConnection
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		if err := verifyChain(&state, cfg); err != nil {
			return err
		}
		if _, err := checkPeer(&state, clusterName); err != nil {
			return err
		}
		if verify != nil {
			return verify(state)
		}
		return nil
	}
	return cfg, nil
}

// harden sets what both ends share.
func harden(cfg *tls.Config, protocols []string) {
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	cfg.NextProtos = protocols
	// A resumed session would carry an identity that was verified in the past.
	cfg.SessionTicketsDisabled, cfg.ClientSessionCache = true, nil
	// Otherwise the first 128 KiB after a pause leave in records of one TCP
	// segment, each with its own system call.
	cfg.DynamicRecordSizingDisabled = true
}

func verifyChain(state *tls.ConnectionState, cfg *tls.Config) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the peer showed no certificate")
	}
	options := x509.VerifyOptions{
		Roots:         cfg.RootCAs,
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if cfg.Time != nil {
		options.CurrentTime = cfg.Time()
	}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	if _, err := state.PeerCertificates[0].Verify(options); err != nil {
		return fmt.Errorf("verify the peer's certificate: %w", err)
	}
	return nil
}
