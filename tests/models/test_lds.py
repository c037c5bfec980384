from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_lyapunov

from linear_video.common.errors import InputError
from linear_video.models import lds
from linear_video.models.checkpoint import load_checkpoint, save_checkpoint
from linear_video.models.lds import LdsSettings, LinearDynamicSystem
from linear_video.models.registry import build, describe

SHAPE = (1, 5, 4)
STATE = 3
ANGLES, RADII = (0.4, 1.3), (0.97, 0.9)


def fitted(
    frames: NDArray[np.uint8], state: int = STATE, stable: bool = False, exact_up_to: int = 1000
) -> LinearDynamicSystem:
    model = LinearDynamicSystem(frames.shape[2:], LdsSettings(state, stable, exact_up_to))
    model.fit_closed_form(frames)
    return model


def smooth(clips: int, length: int, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> NDArray[np.uint8]:
    """Frames with a history: moving averages of noise, with unequal contrast of the pixels."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal((clips, length + 3, *shape)) * np.linspace(5, 60, np.prod(shape)).reshape(shape)
    average = sum(noise[:, k : k + length] for k in range(4)) / 2
    return np.clip(128 + average, 0, 255).astype(np.uint8)


def oscillating(clips: int, length: int, side: int = 8, seed: int = 0) -> NDArray[np.uint8]:
    """Frames of a known linear dynamic system with two turning modes."""
    random = np.random.default_rng(seed)
    A = transition_of_modes()
    observation = np.linalg.qr(random.standard_normal((side * side, 4)))[0] * [10, 8, 7, 5]
    state, states = random.standard_normal((clips, 4)), []
    for _ in range(length):
        states.append(state)
        state = state @ A.T + random.standard_normal((clips, 4)) @ np.diag(np.sqrt(1 - np.repeat(RADII, 2) ** 2))
    flat = 128 + 2.5 * np.stack(states, 1) @ observation.T
    assert flat.min() > 0
    assert flat.max() < 255
    return np.asarray(np.rint(flat), np.uint8).reshape(clips, length, 1, side, side)


def transition_of_modes() -> NDArray[np.float64]:
    A = np.zeros((4, 4))
    for k, (radius, angle) in enumerate(zip(RADII, ANGLES, strict=True)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        A[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = radius * turn
    return A


class Doretto(NamedTuple):
    mean: NDArray[np.float64]
    C: NDArray[np.float64]
    A: NDArray[np.float64]
    Q: NDArray[np.float64]


def doretto(frames: NDArray[np.uint8], state: int = STATE) -> Doretto:
    """Doretto's MATLAB listing, without the steps from one series to the next."""
    clips, length = frames.shape[:2]
    Y = frames.reshape(clips * length, -1).T / 255
    mean = Y.mean(axis=1, keepdims=True)
    U, S, Vt = np.linalg.svd(Y - mean, full_matrices=False)
    C, X = U[:, :state], np.diag(S[:state]) @ Vt[:state]
    series = [X[:, n * length : (n + 1) * length] for n in range(clips)]
    X1, X2 = np.hstack([x[:, :-1] for x in series]), np.hstack([x[:, 1:] for x in series])
    A = X2 @ np.linalg.pinv(X1)
    V = X2 - A @ X1
    return Doretto(mean[:, 0], C, A, V @ V.T / V.shape[1])


def in_frames(model: LinearDynamicSystem) -> dict[str, NDArray[np.float64]]:
    """The quantities that do not depend on the signs of the components."""
    C, A, B = (matrix.numpy() for matrix in (model.observation, model.transition, model.noise))
    return {"mean": model.mean.numpy(), "projector": C @ C.T, "transition": C @ A @ C.T, "noise": C @ B @ B.T @ C.T}


def assert_same(one: LinearDynamicSystem, other: LinearDynamicSystem, atol: float = 1e-8) -> None:
    for name, value in in_frames(one).items():
        np.testing.assert_allclose(value, in_frames(other)[name], atol=atol, err_msg=name)


@pytest.mark.parametrize(("clips", "length"), [(1, 60), (7, 12), (40, 2)])
def test_model_is_the_one_of_dorettos_listing(clips: int, length: int) -> None:
    frames = smooth(clips, length)
    model, expected = fitted(frames), doretto(frames)
    found = in_frames(model)
    np.testing.assert_allclose(found["mean"], expected.mean, atol=1e-6)
    np.testing.assert_allclose(found["projector"], expected.C @ expected.C.T, atol=1e-6)
    np.testing.assert_allclose(found["transition"], expected.C @ expected.A @ expected.C.T, atol=1e-6)
    np.testing.assert_allclose(found["noise"], expected.C @ expected.Q @ expected.C.T, atol=1e-6)
    values, theirs = (np.sort_complex(np.linalg.eigvals(m)) for m in (model.transition.numpy(), expected.A))
    np.testing.assert_allclose(values, theirs, atol=1e-6)
    theirs = theirs[theirs.imag >= 0]
    np.testing.assert_allclose(np.sort_complex(model.spectrum().eigenvalues.numpy()), theirs, atol=1e-6)


def test_predictions_are_those_of_dorettos_listing() -> None:
    frames = smooth(3, 20)
    model, expected = fitted(frames), doretto(frames)
    context = torch.from_numpy(frames[:, :5]).float() / 255
    predicted = model.predict(context, 4)
    assert predicted.shape == (3, 4, *SHAPE)
    assert predicted.dtype == torch.float32
    for n, k in np.ndindex(3, 4):
        state = expected.C.T @ (frames[n, 4].ravel() / 255 - expected.mean)
        flat = expected.C @ np.linalg.matrix_power(expected.A, k + 1) @ state + expected.mean
        np.testing.assert_allclose(predicted[n, k].numpy().ravel(), np.clip(flat, 0, 1), atol=1e-6)


def test_principal_components_are_orthonormal_and_in_order() -> None:
    frames = smooth(4, 30)
    model = fitted(frames)
    states = model.encode(torch.from_numpy(frames).double() / 255).flatten(0, 1).numpy()
    np.testing.assert_allclose(model.observation.T @ model.observation, np.eye(STATE), atol=1e-12)
    covariance = states.T @ states
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-8)
    assert (np.diff(np.diag(covariance)) < 0).all()


def test_no_step_is_taken_from_one_clip_to_the_next() -> None:
    frames = smooth(6, 10)
    assert_same(fitted(frames), fitted(frames[[3, 1, 5, 0, 2, 4]]))
    assert (
        np.abs(
            in_frames(fitted(frames))["transition"] - in_frames(fitted(frames.reshape(1, 60, *SHAPE)))["transition"]
        ).max()
        > 1e-3
    )


@pytest.mark.parametrize(("clips", "length"), [(1, 6000), (200, 30)])
def test_eigenvalues_of_a_known_system_are_recovered(clips: int, length: int) -> None:
    model = fitted(oscillating(clips, length), state=4)
    spectrum = model.spectrum()
    order = spectrum.eigenvalues.abs().argsort(descending=True)
    expected = np.array(RADII) * np.exp(1j * np.array(ANGLES))
    np.testing.assert_allclose(spectrum.eigenvalues[order].numpy(), expected, atol=0.02)
    np.testing.assert_allclose(spectrum.period[order].numpy(), 2 * np.pi / np.array(ANGLES), rtol=0.05)


def low_rank(clips: int = 6, length: int = 10, side: int = 9, rank: int = 3) -> NDArray[np.uint8]:
    """Frames that are, exactly, sums of a few pictures."""
    random = np.random.default_rng(1)
    pictures = random.integers(0, 2, (rank, side * side)) * np.array([[1], [3], [6]])
    weights = random.integers(0, 25, (clips, length, rank))
    return np.asarray(weights @ pictures, np.uint8).reshape(clips, length, 1, side, side)


@pytest.mark.parametrize("exact_up_to", [1, 80])
def test_randomised_components_agree_with_the_exact_ones_on_low_rank_frames(exact_up_to: int) -> None:
    frames = low_rank()
    assert_same(fitted(frames, exact_up_to=exact_up_to), fitted(frames, exact_up_to=81))


def test_randomised_components_keep_nearly_as_much_of_the_variance_as_the_exact_ones() -> None:
    frames = smooth(5, 40, (1, 12, 12))
    flat = frames.reshape(200, -1) / 255
    centred = flat - flat.mean(0)
    kept = [np.sum((centred @ fitted(frames, exact_up_to=limit).observation.numpy()) ** 2) for limit in (1, 1000)]
    assert 0.97 * kept[1] < kept[0] <= kept[1] * (1 + 1e-9)


def test_randomised_components_are_the_same_each_time() -> None:
    frames = smooth(5, 40, (1, 12, 12))
    assert torch.equal(fitted(frames, exact_up_to=1).observation, fitted(frames, exact_up_to=1).observation)


def growing() -> NDArray[np.uint8]:
    """One picture whose contrast grows by 6 percent a frame, and one that fades."""
    random, t = np.random.default_rng(2), np.arange(30)
    pictures = random.standard_normal((2, 20))
    # A third of the frames is upside down, so that the mean does not take part.
    signs = np.array([1, -1, 1, -1, 1, -1])[:, None, None]
    weights = signs * np.stack((5 * 1.06**t, 30 * 0.8**t), 1)
    return np.rint(128 + weights @ pictures).clip(0, 255).astype(np.uint8).reshape(6, 30, *SHAPE)


def test_singular_values_above_one_are_clipped_where_stability_is_asked_for() -> None:
    free, stable = (fitted(growing(), 2, stable=stable) for stable in (False, True))
    assert np.abs(np.linalg.eigvals(free.transition.numpy())).max() > 1.03
    left, values, right = np.linalg.svd(free.transition.numpy())
    assert values[0] > 1
    assert values[1] < 1
    np.testing.assert_allclose(stable.transition, left @ np.diag([1, values[1]]) @ right, atol=1e-9)
    states = stable.encode(torch.from_numpy(growing()).double() / 255).numpy()
    residual = (states[:, 1:] - states[:, :-1] @ stable.transition.numpy().T).reshape(-1, 2)
    np.testing.assert_allclose(stable.noise @ stable.noise.T, residual.T @ residual / len(residual), atol=1e-9)


@pytest.mark.parametrize("length", [2, 25])
def test_noise_has_the_covariance_of_the_residuals(length: int) -> None:
    frames = smooth(20, length)
    model = fitted(frames)
    states = model.encode(torch.from_numpy(frames).double() / 255).numpy()
    residual = (states[:, 1:] - states[:, :-1] @ model.transition.numpy().T).reshape(-1, STATE)
    np.testing.assert_allclose(model.noise @ model.noise.T, residual.T @ residual / len(residual), atol=1e-9)


class Watched(np.ndarray):
    """Notes how many clips are read at once."""

    read: list[int]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            self.read.append(len(range(*key.indices(len(self)))))
        return super().__getitem__(key)


@pytest.mark.parametrize("exact_up_to", [1, 1000])
def test_memory_mapped_clips_are_read_piece_by_piece(
    exact_up_to: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = smooth(11, 9)
    whole = fitted(frames, exact_up_to=exact_up_to)
    np.save(tmp_path / "frames.npy", frames)
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    monkeypatch.setattr(lds, "CHUNK", 3 * 8 * frames[0].size)
    assert_same(fitted(mapped, exact_up_to=exact_up_to), whole)
    watched = frames.view(Watched)
    watched.read = []
    fitted(watched, exact_up_to=exact_up_to)
    assert max(watched.read) == 3
    assert sum(watched.read) % 11 == 0
    monkeypatch.setattr(lds, "CHUNK", 1)  # a clip is read whole, however small the memory
    assert_same(fitted(frames, exact_up_to=exact_up_to), whole)


# --- synthesis -----------------------------------------------------------------------------------------------------


def small_noise() -> LinearDynamicSystem:
    """A system whose frames stay far from black and white."""
    random = np.random.default_rng(3)
    model = LinearDynamicSystem(SHAPE, LdsSettings(STATE, False, 1000))
    A = random.standard_normal((STATE, STATE))
    model.transition.copy_(torch.from_numpy(0.85 * A / np.abs(np.linalg.eigvals(A)).max()))
    model.noise.copy_(torch.from_numpy(0.02 * random.standard_normal((STATE, STATE))))
    model.observation.copy_(torch.from_numpy(np.linalg.qr(random.standard_normal((20, STATE)))[0]))
    model.mean.fill_(0.5)
    return model


def test_covariance_of_synthesised_states_solves_the_lyapunov_equation() -> None:
    model = small_noise()
    A, B = model.transition.numpy(), model.noise.numpy()
    frames = model.synthesise(torch.full((1000, 1, *SHAPE), 0.5), 100)
    states = model.encode(frames[:, 40:]).flatten(0, 1).numpy()
    expected = solve_discrete_lyapunov(A, B @ B.T)
    np.testing.assert_allclose(np.cov(states.T), expected, atol=0.04 * float(np.linalg.norm(expected, 2)))


def test_synthesis_without_noise_follows_powers_of_a_from_the_first_frame() -> None:
    model, start = small_noise(), torch.rand(2, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    frames = model.synthesise(start, 5, noise_scale=0.0)
    A, C = model.transition.numpy(), model.observation.numpy()
    for n, t in np.ndindex(2, 5):
        flat = C @ np.linalg.matrix_power(A, t) @ C.T @ (start[n, 0].double().numpy().ravel() - 0.5) + 0.5
        np.testing.assert_allclose(frames[n, t].numpy().ravel(), np.clip(flat, 0, 1), atol=1e-6)


def test_synthesis_is_reproducible_by_seed() -> None:
    model, start = small_noise(), torch.full((2, 1, *SHAPE), 0.5)
    first = model.synthesise(start, 5, seed=1)
    torch.manual_seed(99)
    assert torch.equal(first, model.synthesise(start, 5, seed=1))
    assert not torch.equal(first, model.synthesise(start, 5, seed=2))
    assert not torch.equal(first[0], first[1])


def test_frames_stay_within_black_and_white() -> None:
    model = small_noise()
    model.noise.mul_(100)
    frames = model.synthesise(torch.full((2, 1, *SHAPE), 0.5), 10)
    assert frames.min() == 0
    assert frames.max() == 1


def test_checkpoints_give_equal_predictions(tmp_path: Path) -> None:
    frames = smooth(4, 20)
    model, context = fitted(frames), torch.from_numpy(frames).float() / 255
    save_checkpoint(tmp_path, model, describe("lds", model))
    loaded = load_checkpoint(tmp_path)
    assert isinstance(loaded, LinearDynamicSystem)
    assert loaded.settings == model.settings
    assert torch.equal(loaded.predict(context, 3), model.predict(context, 3))
    assert torch.equal(loaded.synthesise(context, 3), model.synthesise(context, 3))


# --- futures and modes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [1.0, 0.3])
def test_futures_have_mean_and_covariance_of_the_linear_system(noise: float) -> None:
    model, count = small_noise(), 20_000
    context = 0.5 + 0.05 * torch.rand(2, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    drawn = model.futures(context, 3, count, 1, noise)
    assert drawn.shape == (count, 2, 3, *SHAPE)
    states = model.encode(drawn).numpy()
    A, B, C = (matrix.numpy() for matrix in (model.transition, model.noise, model.observation))
    for n in range(2):
        mean = (context[n, -1].double().numpy().ravel() - 0.5) @ C
        covariance = np.zeros((STATE, STATE))
        for k in range(3):
            mean, covariance = A @ mean, A @ covariance @ A.T + noise**2 * B @ B.T
            scale = np.linalg.norm(covariance, 2)
            np.testing.assert_allclose(states[:, n, k].mean(0), mean, atol=5.5 * np.sqrt(scale / count))
            np.testing.assert_allclose(np.cov(states[:, n, k].T), covariance, atol=8 * scale / np.sqrt(count))


def test_futures_of_one_clip_are_independent_and_reproducible_by_seed() -> None:
    model, context = small_noise(), torch.full((1, 2, *SHAPE), 0.5)
    drawn = model.futures(context, 1, 20_000, 1)
    states = model.encode(drawn)[:, 0, 0]
    first, second = states[:10_000].numpy(), states[10_000:].numpy()
    correlation = np.corrcoef(first.T, second.T)[:STATE, STATE:]
    assert np.abs(correlation).max() < 5 / np.sqrt(10_000)
    assert torch.equal(drawn, model.futures(context, 1, 20_000, 1))
    assert not torch.equal(drawn, model.futures(context, 1, 20_000, 2))


def test_futures_without_noise_are_the_prediction() -> None:
    model, context = small_noise(), torch.rand(2, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    for future in model.futures(context, 4, 3, 0, noise=0.0):
        assert torch.equal(future, model.predict(context, 4))


def parts_by_numpy(model: LinearDynamicSystem, clips: torch.Tensor) -> list[NDArray[np.float64]]:
    """States of each mode of ``spectrum`` by NumPy's eigenvectors: (N, T, n) each."""
    states = model.encode(clips).numpy()
    values, vectors = np.linalg.eig(model.transition.numpy())
    dual = np.linalg.inv(vectors)
    parts = []
    for value in model.spectrum().eigenvalues.numpy():
        same = np.minimum(np.abs(values - value), np.abs(values - value.conj())) < 1e-9
        parts.append(states @ (vectors[:, same] @ dual[same]).real.T)
    return parts


def test_energy_of_modes_is_that_of_their_part_of_the_states() -> None:
    model, clips = small_noise(), torch.rand(2, 6, *SHAPE, generator=torch.Generator().manual_seed(0))
    energy = model.mode_energy(clips)
    parts = parts_by_numpy(model, clips)
    assert energy.shape == (2, len(parts))
    for mode, part in enumerate(parts):
        np.testing.assert_allclose(energy[:, mode].numpy(), (part**2).sum(-1).mean(1), rtol=1e-8)
    np.testing.assert_allclose(sum(parts), model.encode(clips).numpy(), atol=1e-10)


def test_response_of_modes_is_what_frames_would_lack() -> None:
    model = small_noise()
    clips = 0.5 + 0.1 * torch.rand(2, 6, *SHAPE, generator=torch.Generator().manual_seed(0))
    parts, C = parts_by_numpy(model, clips), model.observation.numpy()
    modes = list(range(len(parts)))[::-1]
    found = model.mode_response(clips, modes)
    assert found.shape == (len(parts), 2, 6, *SHAPE)
    for response, mode in zip(found, modes, strict=True):
        np.testing.assert_allclose(response.flatten(2).numpy(), parts[mode] @ C.T, atol=1e-6)
        assert np.abs(parts[mode]).max() > 0.01


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clips", "length"), [(1, STATE), (1, 1), (50, 1)])
def test_too_few_frames_are_refused(clips: int, length: int) -> None:
    with pytest.raises(InputError, match=f"{clips} clips of {length} frames are too few"):
        fitted(smooth(clips, length))


def test_state_larger_than_the_frame_is_refused() -> None:
    settings = {"state_dimension": 21, "stable": False, "exact_up_to": 10}
    with pytest.raises(InputError, match="state_dimension 21 is more than the frame's 20 values"):
        build("lds", SHAPE, settings)
    assert build("lds", SHAPE, settings | {"state_dimension": 20}) is not None


@pytest.mark.parametrize("name", ["state_dimension", "exact_up_to"])
def test_settings_out_of_range_are_refused_by_name(name: str) -> None:
    settings = {"state_dimension": 2, "stable": False, "exact_up_to": 10}
    with pytest.raises(InputError, match=name):
        build("lds", SHAPE, settings | {name: 0})


@pytest.mark.parametrize("exact_up_to", [1, 1000])
def test_a_state_as_large_as_the_frame_loses_nothing(exact_up_to: int) -> None:
    frames = smooth(5, 30)
    model = fitted(frames, state=20, exact_up_to=exact_up_to)
    seen = torch.from_numpy(frames).float() / 255
    torch.testing.assert_close(model.decode(model.encode(seen)), seen, rtol=0, atol=1e-6)


@pytest.mark.parametrize("exact_up_to", [1, 1000])
def test_clips_that_never_change_are_continued(exact_up_to: int) -> None:
    frames = np.broadcast_to(smooth(1, 1), (4, 6, *SHAPE)).copy()
    model = fitted(frames, exact_up_to=exact_up_to)
    seen = torch.from_numpy(frames).float() / 255
    torch.testing.assert_close(model.predict(seen, 3), seen[:, :3], rtol=0, atol=1e-6)
    torch.testing.assert_close(model.synthesise(seen, 3), seen[:, :3], rtol=0, atol=1e-6)
