package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// WithTLS lets processes speak TLS, with a certificate that [Cluster.TLS] trusts. Embedded
// nodes do not.
func WithTLS() Option { return func(c *config) { c.tls = true } }

// TLS returns settings for clients that trust the nodes, nil without [WithTLS].
func (c *Cluster) TLS() *tls.Config { return c.trust.Clone() }

// certificate is one that a set of nodes has, and is its own authority.
type certificate struct {
	certPEM, keyPEM []byte
	trust           *tls.Config
}

func newCertificate() (*certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "redistest"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	c := &certificate{
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		trust:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()},
	}
	c.trust.RootCAs.AppendCertsFromPEM(c.certPEM)
	return c, nil
}

// arguments writes the certificate to a directory and returns what tells a server of it.
func (c *certificate) arguments(dir, port string) ([]string, error) {
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err := errors.Join(os.WriteFile(cert, c.certPEM, 0o600), os.WriteFile(key, c.keyPEM, 0o600))
	return []string{
		"--port", "0", "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", cert, "--tls-auth-clients", "no",
	}, err
}
