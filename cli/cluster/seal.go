package cluster

import (
	"crypto/ecdh"
	"crypto/hpke"
	"fmt"
)

// This file seals calls for a node, by HPKE (RFC 9180). A node makes its keys
// when it starts and keeps the private one in memory alone: what lies in the
// Redis, or in its files, nobody can read later.

var (
	kem  = hpke.DHKEM(ecdh.X25519())
	kdf  = hpke.HKDFSHA256()
	aead = hpke.AES128GCM()
)

// seal seals a call to a partition in an epoch for whoever has the key.
func seal(key []byte, about string, text []byte) ([]byte, error) {
	public, err := kem.NewPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("the key of the partition's owner: %w", err)
	}
	return hpke.Seal(public, kdf, aead, []byte(about), text)
}

// unseal opens what was sealed for us, for the same matter.
func unseal(private hpke.PrivateKey, about string, sealed []byte) ([]byte, error) {
	return hpke.Open(private, kdf, aead, []byte(about), sealed)
}

// matter is what a sealed call is about, so that it can't be put elsewhere.
func matter(store string, partition int, epoch uint64, id string) string {
	return fmt.Sprintf("gleitzeit call %s.%d epoch %d id %s", store, partition, epoch, id)
}
