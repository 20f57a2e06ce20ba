package realm_test

import (
	"strings"
	"testing"

	"jeton/node/realm"
)

// Verifiers made by other implementations: jBCrypt's and crypt_blowfish's own test
// vectors, Elasticsearch's test fixtures, and Java's PBKDF2withHMACSHA512.
func TestVerifiersOfOtherImplementations(t *testing.T) {
	const longBcrypt = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	for name, test := range map[string]struct{ algorithm, verifier, password, wrong string }{
		"jBCrypt, empty": {
			"BCRYPT6", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.", "", "a",
		},
		"jBCrypt, short": {
			"BCRYPT6", "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i", "abc", "abd",
		},
		"jBCrypt, punctuation": {
			"BCRYPT6", "$2a$06$fPIsBO8qRqkjj273rfaOI.HtSV9jLDpTbZn782DC6/t7qT67P6FfO",
			"~!@#$%^&*()      ~!@#$%^&*()PNBFRD", "~!@#$%^&*()     ~!@#$%^&*()PNBFRD",
		},
		"crypt_blowfish, 2a": {
			"BCRYPT5", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U", "U*U*",
		},
		"crypt_blowfish, 2y": {
			"BCRYPT5", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e", "\xff\xff\xa3", "\xff\xff\xa4",
		},
		"crypt_blowfish, 72 bytes and what it ignores after them": {
			"BCRYPT5", "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
			longBcrypt, longBcrypt + "chars after 72 are ignored",
		},
		"Elasticsearch, PBKDF2": {
			"PBKDF2_1000",
			"{PBKDF2}1000$32yPZSShxuKYAl47ip0g6VwbFrD8tvFJuQCoRPGhXC8=$cXAE1BkBXRmkv7pQA7fw4TZ1+rFWS2/nZGeA3kL1Eu8=",
			"test123", "test124",
		},
		"Elasticsearch, PBKDF2_STRETCH": {
			"PBKDF2_STRETCH_1000",
			"{PBKDF2_STRETCH}1000$JnmgicthPZkczB8MaQeJiV6IX43h7mSfPSzESqnYYSA=$OZKH5XFNK+M65mcKal6zgugWRcpl6wUXmSQZ6hPy+iw=",
			"password1", "password2",
		},
		"Java, PBKDF2 beyond ASCII": {
			"PBKDF2_1000",
			"{PBKDF2}1000$mRcPuxg0d6NalMm/OQt3AgnTKlldSph9QfSz5ZJHGr4=$b06J7r9twqMn2LHmsB5Wxb/cyT9pytQ72BioujtJtLg=",
			"grüße-🔑-日本", "grüße-🔑-日",
		},
		"Java, PBKDF2_STRETCH beyond ASCII": {
			"PBKDF2_STRETCH_1000",
			"{PBKDF2_STRETCH}1000$mRcPuxg0d6NalMm/OQt3AgnTKlldSph9QfSz5ZJHGr4=$I7x0FPTHlJd3Aq5vdfU/GjUW7KNWJj1PWDXf8tk7zA0=",
			"grüße-🔑-日本", "grüße-🔑-日本 ",
		},
		"Java, shortest salt and longest key": {
			"PBKDF2_1000",
			"{PBKDF2}1000$mRcPuxg0d6M=$dq5MKYI55x/4y342BRDCLIZN2elXrR1lBcqa/XLpyHNL8nO6RAc93QGkBj0hRKNokWbNwLrpP+dqIebNtGnjPw==",
			"x-pack-test-password", "",
		},
		"Java, longest salt and shortest key": {
			"PBKDF2_1000",
			"{PBKDF2}1000$mRcPuxg0d6NalMm/OQt3AgnTKlldSph9QfSz5ZJHGr4FGUu1XcqzkQAWF1qhR+Hz6Y7oHt9/rkC/55PZ/O1Ssg==$AXz4ThJQFo/Q4muW41ZVUw==",
			"x-pack-test-password", "X-pack-test-password",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := realm.VerifierAlgorithm(test.verifier); err != nil || got != test.algorithm {
				t.Errorf("algorithm %s, %v; want %s", got, err, test.algorithm)
			}
			hasher := hasherOf(t, "bcrypt")
			for password, want := range map[string]bool{test.password: true, test.wrong: false} {
				if got, err := hasher.Matches(t.Context(), test.verifier, realm.NewSecret(password)); err != nil || got != want {
					t.Errorf("password %q: %v, %v; want %v", password, got, err, want)
				}
			}
		})
	}
}

// What a verifier says is what checking it costs, and a client may bring one.
func TestVerifiersOutOfBoundsAreRefused(t *testing.T) {
	const salt, hash = "mRcPuxg0d6NalMm/OQt3AgnTKlldSph9QfSz5ZJHGr4=", "b06J7r9twqMn2LHmsB5Wxb/cyT9pytQ72BioujtJtLg="
	const bcryptRest = "DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."
	for name, encoded := range map[string]string{
		"empty":                       "",
		"plain text":                  "changeme",
		"bcrypt cost too low":         "$2a$03$" + bcryptRest,
		"bcrypt cost too high":        "$2a$15$" + bcryptRest,
		"bcrypt cost 31":              "$2a$31$" + bcryptRest,
		"bcrypt cost not a number":    "$2a$1x$" + bcryptRest,
		"bcrypt cost negative":        "$2a$-4$" + bcryptRest,
		"bcrypt without minor":        "$2$10$" + bcryptRest,
		"bcrypt, the broken minor":    "$2x$10$" + bcryptRest,
		"bcrypt cut":                  "$2a$10$" + bcryptRest[1:],
		"bcrypt too long":             "$2a$10$" + bcryptRest + ".",
		"bcrypt, foreign character":   "$2a$10$" + bcryptRest[:50] + "+==",
		"PBKDF2 999,999,999 rounds":   "{PBKDF2}999999999$" + salt + "$" + hash,
		"PBKDF2 rounds unknown to ES": "{PBKDF2}2000$" + salt + "$" + hash,
		"PBKDF2 one round":            "{PBKDF2}1$" + salt + "$" + hash,
		"PBKDF2 negative":             "{PBKDF2}-1000$" + salt + "$" + hash,
		"PBKDF2 leading zero":         "{PBKDF2}01000$" + salt + "$" + hash,
		"PBKDF2 plus sign":            "{PBKDF2}+1000$" + salt + "$" + hash,
		"PBKDF2 overflow":             "{PBKDF2}18446744073709552616$" + salt + "$" + hash,
		"PBKDF2 short salt":           "{PBKDF2}1000$AAAA$" + hash,
		"PBKDF2 long salt":            "{PBKDF2}1000$" + strings.Repeat("AAAA", 22) + "$" + hash,
		"PBKDF2 no key":               "{PBKDF2}1000$" + salt + "$",
		"PBKDF2 key of odd length":    "{PBKDF2}1000$" + salt + "$AAAA",
		"PBKDF2 key of two blocks":    "{PBKDF2}1000$mRcPuxg0d6M=$" + strings.Repeat("AAAA", 26) + "AAA=",
		"PBKDF2 key not base64":       "{PBKDF2}1000$" + salt + "$!!!!",
		"PBKDF2 salt not base64":      "{PBKDF2}1000$!!!!$" + hash,
		"PBKDF2 three separators":     "{PBKDF2}1000$" + salt + "$" + hash + "$",
		"PBKDF2 huge":                 "{PBKDF2}1000$" + salt + "$" + strings.Repeat("AAAA", 1<<16),
		"unsalted":                    "{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
		"MD5":                         "{MD5}1B2M2Y8AsgTpgAmY7PhCfg==",
	} {
		t.Run(name, func(t *testing.T) {
			matched, err := hasherOf(t, "bcrypt4").Matches(t.Context(), encoded, realm.NewSecret("changeme"))
			if err == nil || matched {
				t.Fatalf("accepted: %v", matched)
			}
			if encoded != "" && strings.Contains(err.Error(), encoded) {
				t.Errorf("the error shows the verifier: %v", err)
			}
		})
	}
}

func TestAlgorithmsHaveElasticsearchsNames(t *testing.T) {
	for setting, want := range map[string]string{
		"bcrypt": "BCRYPT", "BCRYPT": "BCRYPT", "bcrypt4": "BCRYPT4", "bcrypt10": "BCRYPT", "bcrypt14": "BCRYPT14",
		"pbkdf2": "PBKDF2", "pbkdf2_1000": "PBKDF2_1000", "pbkdf2_10000": "PBKDF2", "pbkdf2_1000000": "PBKDF2_1000000",
		"pbkdf2_stretch": "PBKDF2_STRETCH", "pbkdf2_stretch_50000": "PBKDF2_STRETCH_50000",
	} {
		if got, err := realm.AlgorithmName(setting); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", setting, got, err, want)
		}
	}
	for _, setting := range []string{
		"", "md5", "noop", "bcrypt3", "bcrypt15", "bcrypt04", "bcrypt_10", "bcrypt+5", "pbkdf2_", "pbkdf2_2000", "pbkdf21000",
		"pbkdf2_stretch_", "pbkdf2_stretch1000", "argon2id",
	} {
		if got, err := realm.NewHasher(setting); err == nil {
			t.Errorf("%q: accepted: %v", setting, got)
		} else if want := "unknown hash function [" + setting + "]"; err.Error() != want {
			t.Errorf("%q: %v; want %s", setting, err, want)
		}
	}
}

func TestNewVerifiersMatchTheirPasswordOnly(t *testing.T) {
	for _, algorithm := range []string{"bcrypt4", "pbkdf2_1000", "pbkdf2_stretch_1000"} {
		hasher := hasherOf(t, algorithm)
		encoded, err := hasher.NewVerifier(t.Context(), realm.NewSecret("x-pack-test-password"))
		if err != nil {
			t.Fatal(err)
		}
		again, err := hasher.NewVerifier(t.Context(), realm.NewSecret("x-pack-test-password"))
		if err != nil || encoded == again {
			t.Errorf("%s: no fresh salt: %s, %v", algorithm, again, err)
		}
		if got, err := realm.VerifierAlgorithm(encoded); err != nil || got != strings.ToUpper(algorithm) {
			t.Errorf("%s: verifier says %s, %v", algorithm, got, err)
		}
		for password, want := range map[string]bool{"x-pack-test-password": true, "x-pack-test-passwore": false, "": false} {
			if got, err := hasher.Matches(t.Context(), encoded, realm.NewSecret(password)); err != nil || got != want {
				t.Errorf("%s, %q: %v, %v; want %v", algorithm, password, got, err, want)
			}
		}
	}
}

func TestDummyVerifierCostsWhatARealOneCosts(t *testing.T) {
	for _, setting := range []string{"bcrypt4", "bcrypt", "bcrypt14", "pbkdf2", "pbkdf2_1000", "pbkdf2_stretch", "pbkdf2_stretch_1000000"} {
		want, _ := realm.AlgorithmName(setting)
		encoded, err := realm.DummyVerifier(setting)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := realm.VerifierAlgorithm(encoded); err != nil || got != want {
			t.Errorf("%s: dummy is %s, %v", setting, got, err)
		}
	}
	for _, setting := range []string{"bcrypt4", "pbkdf2_1000", "pbkdf2_stretch_1000"} {
		encoded, _ := realm.DummyVerifier(setting)
		if match, err := hasherOf(t, setting).Matches(t.Context(), encoded, realm.NewSecret("")); match || err != nil {
			t.Errorf("%s: %v, %v", setting, match, err)
		}
	}
}

func FuzzVerifier(f *testing.F) {
	f.Add("$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.")
	f.Add("{PBKDF2}1000$32yPZSShxuKYAl47ip0g6VwbFrD8tvFJuQCoRPGhXC8=$cXAE1BkBXRmkv7pQA7fw4TZ1+rFWS2/nZGeA3kL1Eu8=")
	f.Add("{PBKDF2_STRETCH}1000000$32yPZSShxuKYAl47ip0g6VwbFrD8tvFJuQCoRPGhXC8=$cXAE1BkBXRmkv7pQA7fw4TZ1+rFWS2/nZGeA3kL1Eu8=")
	f.Fuzz(func(t *testing.T, encoded string) {
		name, err := realm.VerifierAlgorithm(encoded)
		if err != nil {
			return
		}
		if _, err := realm.AlgorithmName(name); err != nil {
			t.Errorf("%q is accepted at a cost that cannot be configured: %s", encoded, name)
		}
		cheap := name == "BCRYPT4" || name == "PBKDF2_1000" || name == "PBKDF2_STRETCH_1000"
		if !cheap {
			return
		}
		if _, err := hasherOf(t, "bcrypt4").Matches(t.Context(), encoded, realm.NewSecret("changeme")); err != nil {
			t.Errorf("%q is accepted but cannot be checked: %v", encoded, err)
		}
	})
}
