package auth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// publicKey is what checks signatures.
type publicKey struct {
	id        string // "": unknown
	algorithm string // "": any that fits
	public    any    // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, or the []byte of a secret
}

// fits reports whether the key can have made a signature.
func (k publicKey) fits(id, algorithm string) bool {
	if k.algorithm != "" && k.algorithm != algorithm || id != "" && k.id != "" && k.id != id {
		return false
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return algorithm == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[public.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	case []byte:
		return strings.HasPrefix(algorithm, "HS")
	}
	return false
}

// keySource has keys. id is the one that is looked for, "" if that is not known.
type keySource interface {
	get(ctx context.Context, id string) ([]publicKey, error)
}

type keyFile struct{ live[[]publicKey] }

func newKeyFile(path string, parse func([]byte) ([]publicKey, error)) (keySource, error) {
	f := &keyFile{live[[]publicKey]{path: path, parse: parse}}
	_, err := f.live.get()
	return f, err
}

func (f *keyFile) get(context.Context, string) ([]publicKey, error) { return f.live.get() }

// minSecret is how many bytes a secret needs (RFC 7518, section 3.2).
const minSecret = 32

func parseSecret(data []byte) ([]publicKey, error) {
	// A public key in this place would let everybody sign.
	if text := bytes.TrimSpace(data); bytes.HasPrefix(text, []byte("-----BEGIN ")) || bytes.HasPrefix(text, []byte("{")) && json.Valid(text) {
		return nil, errors.New("this is a file of keys, not a secret: use it as key file")
	}
	data = bytes.TrimRight(data, "\r\n")
	if len(data) < minSecret {
		return nil, fmt.Errorf("the secret has %d bytes, and needs %d", len(data), minSecret)
	}
	return []publicKey{{public: data}}, nil
}

// parseKeys reads PEM blocks or a key set.
func parseKeys(data []byte) ([]publicKey, error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return parseKeySet(data)
	}
	var all []publicKey
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		var k any
		var err error
		switch block.Type {
		case "PUBLIC KEY":
			k, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			k, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				k = c.PublicKey
			}
		default:
			err = errors.New("not a public key, and nothing else is needed")
		}
		if err == nil {
			err = usable(k)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", block.Type, err)
		}
		all = append(all, publicKey{public: k})
	}
	if all == nil {
		return nil, errors.New("neither PEM nor JSON with public keys")
	}
	return all, nil
}

// usable refuses keys that no algorithm here can use, or that are too weak (RFC 7518, section 3.3).
func usable(k any) error {
	switch k := k.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 || k.E < 3 {
			return fmt.Errorf("an RSA key of %d bits is too weak", k.N.BitLen())
		}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
		default:
			return fmt.Errorf("unknown curve %s", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("keys of type %T are not for tokens", k)
	}
	return nil
}

// parseKeySet reads RFC 7517, section 5. Keys that are for something else, of unknown kind, too weak or malformed are
// left out, as that section says; so are secrets, which have no place there.
func parseKeySet(data []byte) ([]publicKey, error) {
	var set struct {
		Keys []struct {
			Kty, Kid, Alg, Use, Crv, N, E, X, Y string
		}
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, err
	}
	var all []publicKey
	problem := errors.New("the set has no key to check signatures with")
	for i, k := range set.Keys {
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		var public any
		var err error
		switch k.Kty {
		case "RSA":
			public, err = rsaKey(k.N, k.E)
		case "EC":
			public, err = ecKey(k.Crv, k.X, k.Y)
		case "OKP":
			if k.Crv != "Ed25519" {
				continue
			}
			var x []byte
			if x, err = base64.RawURLEncoding.DecodeString(k.X); err == nil && len(x) != ed25519.PublicKeySize {
				err = errors.New("wrong length")
			}
			public = ed25519.PublicKey(x)
		default:
			continue
		}
		if err == nil {
			err = usable(public)
		}
		if err != nil {
			problem = fmt.Errorf("the set has no key to check signatures with: key %d (%q): %w", i+1, k.Kid, err)
			continue
		}
		all = append(all, publicKey{id: k.Kid, algorithm: k.Alg, public: public})
	}
	if all == nil {
		return nil, problem
	}
	return all, nil
}

func rsaKey(n, e string) (*rsa.PublicKey, error) {
	nb, err := base64.RawURLEncoding.DecodeString(n)
	if err != nil {
		return nil, err
	}
	eb, err := base64.RawURLEncoding.DecodeString(e)
	if err != nil {
		return nil, err
	}
	exponent := new(big.Int).SetBytes(eb)
	if exponent.BitLen() > 31 {
		return nil, errors.New("the exponent is too large")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(nb), E: int(exponent.Int64())}, nil
}

func ecKey(crv, x, y string) (*ecdsa.PublicKey, error) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[crv]
	if curve == nil {
		return nil, fmt.Errorf("unknown curve %q", crv)
	}
	point := []byte{4} // uncompressed
	for _, s := range []string{x, y} {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			return nil, err
		}
		size := (curve.Params().BitSize + 7) / 8
		if len(b) != size {
			return nil, errors.New("wrong length")
		}
		point = append(point, b...)
	}
	return ecdsa.ParseUncompressedPublicKey(curve, point)
}
