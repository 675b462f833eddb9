"""Start-up kits let in who they were made for, and nobody else."""

import json
import stat
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from resight.cli.main import main
from resight.errors import OutputError, SettingsError
from resight.federated.provision import provision, read_kit, split_address


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("federation") / "kits"
    provision(folder, ["north", "south"], "127.0.0.1:9443")
    return folder


def test_a_kit_holds_keys_that_belong_to_its_certificate_and_the_roster(kits: Path) -> None:
    kit = read_kit(kits / "sites" / "north", "site")
    assert kit.options.name == "north"
    assert sorted(kit.roster) == ["north", "south"]
    private, public = kit.node_keys()
    certificate = x509.load_pem_x509_certificate(kit.certificate.read_bytes())
    assert certificate.public_key() == public == private.public_key()
    assert kit.roster["north"] == kit.identity().public_key().public_bytes_raw()
    ed25519.Ed25519PublicKey.from_public_bytes(kit.roster["south"])
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]


def test_private_keys_are_readable_by_their_owner_only_and_no_kit_holds_another_sites(kits: Path) -> None:
    for path in kits.rglob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len({path.read_bytes() for path in kits.rglob("*.key")}) == 6
    assert not list((kits / "server").glob("sign.key"))
    assert not [path for path in (kits / "server").iterdir() if path.name == "ca.key"]


def test_an_expired_kit_is_refused_in_one_line(tmp_path: Path) -> None:
    provision(tmp_path / "kits", ["a", "b"], "localhost:9443", days=-0.001)
    with pytest.raises(SettingsError, match=r"certificate is not valid after .*; expected now, .* clock") as caught:
        read_kit(tmp_path / "kits" / "sites" / "a", "site")
    assert "\n" not in str(caught.value)


def test_a_clock_that_is_slow_by_more_than_minutes_is_one_line(kits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) - timedelta(minutes=minutes)

    monkeypatch.setattr("resight.federated.provision.datetime", Slow)
    minutes = 4.0
    assert read_kit(kits / "sites" / "north", "site").options.name == "north"
    minutes = 6.0
    with pytest.raises(SettingsError, match=r"certificate is not valid before .*; expected now, .* clock") as caught:
        read_kit(kits / "sites" / "north", "site")
    assert "\n" not in str(caught.value)


def test_a_kit_of_another_role_or_another_authority_or_a_changed_roster_is_refused(kits: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="kit of a server; expected that of a site"):
        read_kit(kits / "server", "site")
    provision(tmp_path / "other", ["north", "south"], "localhost:9443")
    mine = tmp_path / "other" / "sites" / "north"
    (mine / "ca.crt").write_bytes((kits / "server" / "ca.crt").read_bytes())
    with pytest.raises(SettingsError, match="not that of its authority"):
        read_kit(mine, "site")
    changed = tmp_path / "other" / "sites" / "south"
    roster = json.loads((changed / "roster.json").read_text())
    roster["sites"]["stranger"] = roster["sites"]["north"]
    (changed / "roster.json").write_text(json.dumps(roster))
    with pytest.raises(SettingsError, match="not that of its authority, or was changed"):
        read_kit(changed, "site")


@pytest.mark.parametrize("missing", ["ca.crt", "site.key", "site.crt", "roster.sig", "kit.toml"])
def test_an_incomplete_kit_is_refused(tmp_path: Path, missing: str) -> None:
    provision(tmp_path / "kits", ["a", "b"], "localhost:9443")
    (tmp_path / "kits" / "sites" / "a" / missing).unlink()
    with pytest.raises(SettingsError, match=r"incomplete|cannot be read"):
        read_kit(tmp_path / "kits" / "sites" / "a", "site")


@pytest.mark.parametrize("sites", [["a"], ["a", "a"], ["a", "../b"], ["a", "b c"], ["a", ""]])
def test_impossible_names_leave_nothing_behind(tmp_path: Path, sites: list[str]) -> None:
    with pytest.raises(SettingsError):
        provision(tmp_path / "kits", sites, "localhost:9443")
    assert not list(tmp_path.iterdir())


def test_kits_are_not_written_over(kits: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        provision(kits, ["a", "b"], "localhost:9443")


def test_the_command_replaces_kits_only_when_asked_to(tmp_path: Path) -> None:
    words = ["federate", "provision", "north", "south", "--server", "localhost:9443", "--out", str(tmp_path / "kits")]
    assert main(words) == 0
    first = (tmp_path / "kits" / "ca" / "ca.crt").read_bytes()
    assert main(words) == 7
    assert (tmp_path / "kits" / "ca" / "ca.crt").read_bytes() == first
    assert main([*words, "--force"]) == 0
    assert (tmp_path / "kits" / "ca" / "ca.crt").read_bytes() != first


@pytest.mark.parametrize("address", ["host", "host:", "host:0", "host:99999", ":80"])
def test_addresses_that_are_none_are_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="host:port"):
        split_address(address)
    assert split_address("[::1]:9443") == ("::1", 9443)
