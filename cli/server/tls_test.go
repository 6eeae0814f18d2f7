package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"gleitzeit/cli/server"
)

// certificate writes one for this machine and returns the files, and who trusts
// it.
func certificate(t *testing.T) (cert, key string, trust *x509.CertPool) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, data []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	parsed, _ := x509.ParseCertificate(raw)
	trust = x509.NewCertPool()
	trust.AddCert(parsed)
	return write("cert.pem", "CERTIFICATE", raw), write("key.pem", "PRIVATE KEY", secret), trust
}

// With a certificate everything goes over TLS, and nothing without.
func TestTLS(t *testing.T) {
	cert, key, trust := certificate(t)
	w := listenHTTP(t, nil, func(o *server.HTTPOptions) { o.TLSCert, o.TLSKey = cert, key })
	if !strings.HasPrefix(w.url, "https://") {
		t.Fatal(w.url)
	}
	w.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, DisableKeepAlives: true}
	if a := w.rpc(server.SystemHello, nil); a.Error != nil {
		t.Error(a.Error)
	}
	host := strings.TrimPrefix(w.url, "https://")
	if status, _ := w.do("POST", "/rpc", `{"jsonrpc":"2.0","id":1,"method":"system/hello"}`, "Origin: https://"+host); status != 200 {
		t.Errorf("a page of its own: %d", status)
	}
	if status, _ := w.do("POST", "/rpc", `{"jsonrpc":"2.0","id":1,"method":"system/hello"}`, "Origin: http://"+host); status != 403 {
		t.Errorf("a page that came in the clear: %d", status)
	}
	conn := w.dial(nil)
	if err := conn.Write(soon(t), websocket.MessageText, []byte(`{"jsonrpc":"2.0","id":1,"method":"system/hello"}`)); err != nil {
		t.Error(err)
	}
	if _, answer, err := conn.Read(soon(t)); err != nil || !strings.Contains(string(answer), `"api"`) {
		t.Errorf("over a WebSocket: %s %v", answer, err)
	}
	old := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trust, MaxVersion: tls.VersionTLS11}}}
	if resp, err := old.Get(w.url + "/healthz"); err == nil {
		resp.Body.Close()
		t.Error("TLS 1.1 is good enough")
	}
	if resp, err := http.Get("http://" + host + "/healthz"); err == nil {
		if resp.Body.Close(); resp.StatusCode == 200 {
			t.Error("it speaks in the clear")
		}
	}
	for _, o := range []server.HTTPOptions{{Host: "127.0.0.1", TLSCert: cert}, {Host: "127.0.0.1", TLSCert: key, TLSKey: cert}} {
		if _, err := w.srv.ListenHTTP(o); err == nil {
			t.Errorf("listens with %+v", o)
		}
	}
}
