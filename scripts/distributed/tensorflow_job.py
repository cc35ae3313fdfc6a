"""A job's code: MultiWorkerMirroredStrategy, by TF_CONFIG."""

import json
import os

import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
task = json.loads(os.environ["TF_CONFIG"])["task"]
with strategy.scope():
    model = tf.keras.Sequential([tf.keras.layers.Input((8,)), tf.keras.layers.Dense(1)])
    model.compile(tf.keras.optimizers.SGD(0.1), "mse")
rows = tf.random.stateless_normal((512, 8), seed=(1, 2))
targets = tf.reduce_sum(rows, axis=1, keepdims=True)
history = model.fit(rows, targets, epochs=5, batch_size=32 * strategy.num_replicas_in_sync, verbose=0)
print(
    f"{task['type']} {task['index']}: {strategy.num_replicas_in_sync} replicas, loss {history.history['loss'][-1]:.1e}"
)
