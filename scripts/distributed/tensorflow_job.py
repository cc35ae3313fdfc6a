"""A job's code: MultiWorkerMirroredStrategy, by TF_CONFIG. Each worker has other data, and all end with one model.

Without Keras: version 3, which TensorFlow has from 2.16 on, does not train with this strategy.
"""

import json
import os

import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
config = json.loads(os.environ["TF_CONFIG"])
task, workers = config["task"], len(config["cluster"]["worker"])
assert strategy.num_replicas_in_sync == workers, strategy.num_replicas_in_sync
with strategy.scope():
    weights = tf.Variable(tf.zeros((8, 1)))
targets = tf.reshape(tf.range(8.0) / 8, (8, 1))


@tf.function
def step(rows: tf.Tensor) -> tf.Tensor:
    def one(rows: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(rows @ weights - rows @ targets))
        gradient = tape.gradient(loss, weights)
        all_ = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, gradient)
        weights.assign_sub(0.1 * all_)
        return loss

    return strategy.reduce(tf.distribute.ReduceOp.MEAN, strategy.run(one, (rows,)), axis=None)


tf.random.set_seed(task["index"])
for _ in range(100):
    loss = float(step(tf.random.normal((32, 8))))
assert loss < 1e-3, loss
own = strategy.experimental_local_results(weights)[0]
together = strategy.reduce(tf.distribute.ReduceOp.MEAN, strategy.run(lambda: tf.identity(weights)), axis=None)
assert tf.reduce_all(tf.abs(own - together) < 1e-6), "the workers' weights differ"
print(f"{task['type']} {task['index']} of {workers}: loss {loss:.1e}")
