package main

import (
	"context"
	"path/filepath"
	"time"
)

// certificateFaults are those of certificates. Clients trust the authorities throughout.
func certificateFaults() []fault {
	return []fault{
		{name: "rotate-certificates", what: "all nodes get new certificates, one after the other, while they run", kind: kindCertificates, inject: rotate},
		{name: "rotate-authority", what: "nodes and clients go from one authority to another, as docs/certificates.md says; then the former one's certificates are refused", kind: kindCertificates, inject: rotateAuthority},
		{name: "wrong-certificate", what: "a node shows its peers a certificate of another authority, and is started again with it", exits: true, kind: kindCertificates, inject: func(ctx context.Context, t *trial) func(context.Context) {
			return t.badCertificate(ctx, func(n *node) error {
				folder := filepath.Join(t.setup.out, "certs-of-others")
				if err := t.issueCertificates(ctx, folder, n); err != nil {
					return err
				}
				return n.installPeer(folder)
			})
		}},
		{name: "expired-certificate", what: "the certificate that a node shows its peers has ended, and it is started again with it", exits: true, kind: kindCertificates, inject: func(ctx context.Context, t *trial) func(context.Context) {
			return t.badCertificate(ctx, func(n *node) error { return n.installExpired(t.certificates()) })
		}},
	}
}

func rotate(ctx context.Context, t *trial) func(context.Context) {
	t.trouble(t.issueCertificates(ctx, t.certificates(), t.machines()...))
	for _, n := range t.nodes {
		t.trouble(n.install(t.certificates()))
		n.hangUp()
		pause(ctx, lookInterval)
	}
	return simply(func() {})
}

// badCertificate gives a node a bad certificate, first while it runs, and then it is started again.
func (t *trial) badCertificate(ctx context.Context, install func(*node) error) func(context.Context) {
	n := t.anyone()
	t.trouble(install(n))
	n.hangUp()
	running := meanwhile(ctx, func(ctx context.Context) {
		if pause(ctx, badCertificateRuns) {
			n.kill(ctx)()
		}
	})
	return func(ctx context.Context) {
		running(ctx)
		t.trouble(n.install(t.certificates()))
		n.hangUp()
	}
}

// badCertificateRuns is how long a node runs with a bad certificate before it is started again.
const badCertificateRuns = 800 * time.Millisecond
